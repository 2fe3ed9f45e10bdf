"""
Whole histories of a channel from one seed: clock, disk, network, provider and process are drawn, the product is real.

    world       one thread at a time, chosen by the seed; time passes only when all wait
    disk        a disk that fails, and that forgets after a power cut what was not synced
    provider    the loopback teacher inside the process, reached through the client's own transport
    life        one process of a run: list talks, both passes, gates, split
    talks       what the teacher says
    laws        what holds after every process
    histories   processes one after another

`python -m tests.simulation 0 300` plays histories and prints those that break a law; `-v SEED` tells one step by step.
"""
