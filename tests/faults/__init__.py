"""Plants faults on purpose and reports which test catches each of them."""
