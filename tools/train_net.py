"""Train or evaluate what a configuration file describes.

python tools/train_net.py --config-file configs/bestie_voc.yaml [--eval-only] [--resume]
    [--num-gpus N] [--num-machines N --machine-rank K --dist-url tcp://HOST:PORT] [KEY VALUE ...]
torchrun --nproc-per-node N tools/train_net.py --config-file FILE ...

An OUTPUT_DIR that holds a training is only gone on with, by --resume; it is never overwritten.
"""

from argparse import Namespace
from contextlib import nullcontext

from bestie_d2.checks.training import check_config, check_test_sets, check_train_sets
from bestie_d2.engine.command_line import default_argument_parser, is_main_process, run_tool
from bestie_d2.engine.configuration import (
    check_output,
    load_config,
    setup_run,
    with_trained_weights,
)
from bestie_d2.engine.distributed import AUTO, joined, launch
from bestie_d2.engine.trainer import Trainer, evaluate
from bestie_d2.storage.processes import ANOTHER_OUTPUT, only_run_in

OF_ITS_CHECKPOINTS = (
    "wait until it ends; to evaluate one of its checkpoints meanwhile, give that as MODEL.WEIGHTS, "
    "and another OUTPUT_DIR"
)


def train_or_evaluate(args: Namespace) -> None:
    """What each process does."""
    cfg = load_config(args.config_file, args.opts)
    check_config(cfg)
    advice = OF_ITS_CHECKPOINTS if args.eval_only else ANOTHER_OUTPUT
    alone = only_run_in(cfg.OUTPUT_DIR, "OUTPUT_DIR", advice)
    with joined(cfg.MODEL.DEVICE), alone if is_main_process() else nullcontext():
        if not args.eval_only:
            check_output(cfg.OUTPUT_DIR, resume=args.resume)
        setup_run(cfg, args)
        if args.eval_only:
            evaluate(with_trained_weights(cfg, [] if args.resume else args.opts))
            return
        check_test_sets(cfg)
        check_train_sets(cfg)
        trainer = Trainer(cfg)
        trainer.resume_or_load(resume=args.resume)
        trainer.train()


def main() -> None:
    parser = default_argument_parser()
    parser.set_defaults(dist_url=AUTO)
    launch(train_or_evaluate, parser.parse_args())


if __name__ == "__main__":
    run_tool(main)
