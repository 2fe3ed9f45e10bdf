"""Make one dataset of the gold sets of several channels of manuals, to train one model on all of them.

What one set holds out is never trained on: the row of the other set is left out, also where it is only a near-duplicate
or about the same section. Train with the preset of one of them: understudy run --preset PRESET --set name=NAME --only
model, then --only score.
"""

from argparse import ArgumentParser, Namespace

from understudy.channel.ledger import Ledger
from understudy.cli import Result, channels
from understudy.stages import combine
from understudy.text.words import counted

EXAMPLE = "understudy combine ward-manuals lab-manuals --name hospital"


def options(p: ArgumentParser) -> None:
    p.add_argument("channels", nargs="+", metavar="CHANNEL", help="folders under data/ with a gold set each")
    p.add_argument("--name", required=True, metavar="NAME", help="the channel that they become")


def main(args: Namespace) -> Result:
    """Write the dataset of NAME, anew where it was combined before."""
    name = channels.checked(args.name)
    for channel in args.channels:
        channels.folder(args.home, channel)
    combine.refuse(args.home, args.channels, name)
    folder = args.home / "data" / name
    folder.mkdir(parents=True, exist_ok=True)
    with channels.locked(folder):
        known = combine.combine(args.home, args.channels, name)
        ledger = Ledger(folder / "ledger.sqlite")
        ledger.set_note("combined", " ".join(args.channels))  # with a ledger the other verbs know the channel
        ledger.close()
    lines = [f"{one.channel}: {counted(one.rows, 'row')}, {one.left_out} left out" for one in known.sets]
    lines += [f"{name}: {folder / 'dataset'}; rejects.jsonl says why rows were left out",
              f"Now type: understudy run --preset PRESET --set name={name} --only model"]  # fmt: skip
    return Result("\n".join(lines), known.model_dump(mode="json"))
