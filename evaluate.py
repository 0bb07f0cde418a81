"""Measure a checkpoint against its references: `python evaluate.py checkpoint=FILE` (`priorfit-evaluate`)."""

from priorfit.evaluation.main import main

if __name__ == "__main__":
    main()
