"""Train a network on a prior: `python train.py experiment=quickstart` (console script `priorfit-train`)."""

from priorfit.training.main import main

if __name__ == "__main__":
    main()
