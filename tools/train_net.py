"""Train or evaluate what a configuration file describes.

python tools/train_net.py --config-file configs/bestie_voc.yaml [--eval-only] [--resume]
    [--num-gpus N] [KEY VALUE ...]
"""

from bestie_d2.engine.quiet import quiet_third_party_warnings

quiet_third_party_warnings()

from detectron2.engine import default_argument_parser, launch  # noqa: E402

from bestie_d2.engine.checks import check_processes, check_test_sets  # noqa: E402
from bestie_d2.engine.command_line import run_tool  # noqa: E402
from bestie_d2.engine.configuration import setup_run, with_trained_weights  # noqa: E402
from bestie_d2.engine.mask_training import check_train_sets  # noqa: E402
from bestie_d2.engine.trainer import Trainer, evaluate  # noqa: E402


def train_or_evaluate(args) -> None:
    """What each process does; one that was spawned starts without our filters."""
    quiet_third_party_warnings()
    cfg = setup_run(args)
    if args.eval_only:
        evaluate(with_trained_weights(cfg, [] if args.resume else args.opts))
        return
    check_test_sets(cfg)
    check_train_sets(cfg)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    trainer.train()


def main() -> None:
    args = default_argument_parser().parse_args()
    check_processes(args.num_gpus)
    launch(
        train_or_evaluate,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )


if __name__ == "__main__":
    run_tool(main)
