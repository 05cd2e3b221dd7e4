"""What a person asks of runs, as files; knows no training."""
