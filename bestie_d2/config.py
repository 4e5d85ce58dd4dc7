"""Every key that BESTIE adds to Detectron2's configuration, with its default: the released recipe.

Where the paper's text says otherwise, the comment gives the value that reproduces it. A comment
begins with the paper's symbol where there is one ("alpha: ..."). docs/config.md is made of these
comments (bestie_d2/report/config_page.py): those above a key, and behind it, are about it; those
above a node, about its keys.
"""

from __future__ import annotations

import torch
from detectron2.config import CfgNode


def add_bestie_config(cfg: CfgNode) -> None:
    """Add the keys of this package to a Detectron2 configuration, in place."""
    # Modules to import, which register one's own backbones, heads, mappers or data sets: installed,
    # beside the configuration file or in the working directory.
    cfg.EXTRA_MODULES = []
    # A key of Detectron2's, with another default.
    cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    _add_dataset_keys(cfg)
    _add_input_keys(cfg)
    _add_network_keys(cfg)
    _add_label_keys(cfg)
    _add_classifier_keys(cfg)
    _add_wsss_keys(cfg)
    _add_solver_keys(cfg)


def _add_dataset_keys(cfg: CfgNode) -> None:
    # Data sets of one's own: a list of {name: ..., images: ..., points: ...}, the arguments of
    # bestie_d2.data.register_weak_dataset. $DETECTRON2_DATASETS and ~ are expanded in paths.
    cfg.DATASETS.CUSTOM = []
    # Names of the classes that count, in their order: those are all classes that data sets then
    # have, whatever they were registered with. Images that show none are left out of training and
    # test sets, all other classes are background. Cues and weak maps that DATASETS.CUES and
    # DATASETS.WEAK_MAPS name say their classes themselves; those of the data set have the numbers
    # of all its classes.
    cfg.DATASETS.SUBSET = []
    # Folder of index PNGs to use in place of the training set's registered weak maps ("" = those).
    cfg.DATASETS.WEAK_MAPS = ""
    # Cue or point file (or folder) to use in place of the registered one ("" = that).
    cfg.DATASETS.CUES = ""
    # COCO file of instances to learn from in place of the components with one cue: labels that
    # BESTIE exported (iterative training, paper: Table 5). "" = transfer from the cues.
    cfg.DATASETS.INSTANCE_LABELS = ""
    # Cues with a higher score are used. Paper: 0.5.
    cfg.DATASETS.CUE_THRESHOLD = 0.7


def _add_input_keys(cfg: CfgNode) -> None:
    # Who makes training examples: a name in bestie_d2.data.MAPPER_REGISTRY, or "" for Detectron2.
    cfg.INPUT.MAPPER = ""
    # Images of more than 8 bits are scaled to 8: which values become black and white.
    cfg.INPUT.INTENSITY = CfgNode()
    # Percentiles of an image's own values: (0.0, 100.0) is from its smallest to its largest; where
    # more pixels than one in a thousand are much brighter than all others, (1.0, 99.8) is usual.
    cfg.INPUT.INTENSITY.PERCENTILES = (0.1, 99.9)
    # ... or two values for all images, such as (0, 4095) for a 12-bit camera (() = percentiles).
    cfg.INPUT.INTENSITY.RANGE = ()

    # Training input of BESTIE.
    cfg.INPUT.BESTIE = CfgNode()
    # Training images are resized until their longer side is so many pixels (sides 32 k + 1) ...
    cfg.INPUT.BESTIE.LONG_SIDE = 449
    cfg.INPUT.BESTIE.SCALE_RANGE = [0.7, 1.3]  # ... times a random scale from, to ...
    cfg.INPUT.BESTIE.SCALE_STEP = 0.1  # ... in steps of this ...
    # ... and cropped at random (padded where smaller) to this side in pixels. HRNet: 32 k.
    cfg.INPUT.BESTIE.CROP_SIZE = 416
    # Padding of the weak map: 255 (nothing known) if true, else 0 (background, released recipe).
    cfg.INPUT.BESTIE.IGNORE_PADDING = False
    # Random brightness, contrast and hue.
    cfg.INPUT.BESTIE.PHOTOMETRIC = True
    cfg.INPUT.BESTIE.HORIZONTAL_FLIP = True  # random flips, left-right (released recipe)
    cfg.INPUT.BESTIE.VERTICAL_FLIP = False  # also top-bottom, for images that have no "up"

    # Training input of the networks that learn from image tags: PAM classifier and built-in WSSS.
    cfg.INPUT.TAGS = CfgNode()
    # Both sides are resized to this many pixels (0: images keep their size), then a square ...
    cfg.INPUT.TAGS.RESIZE = 384
    # ... of this side is cropped at random (padded where the image is smaller). HRNet: 32 k.
    cfg.INPUT.TAGS.CROP_SIZE = 321
    # Random brightness, contrast and saturation, as factors 1 +- these, and hue, in turns +- this.
    cfg.INPUT.TAGS.COLOR_JITTER = [0.3, 0.3, 0.3, 0.1]
    cfg.INPUT.TAGS.HORIZONTAL_FLIP = True  # random flips, left-right
    cfg.INPUT.TAGS.VERTICAL_FLIP = False  # also top-bottom
    # Both sides of a test image are resized to this many pixels (0: INPUT.MIN_SIZE_TEST decides).
    cfg.INPUT.TEST_SIDE = 0


def _add_network_keys(cfg: CfgNode) -> None:
    # Weights with the channels as the innermost dimension, as convolutions in half precision want.
    cfg.MODEL.CHANNELS_LAST = False

    # Any convolutional network of timm with features of strides 4 to 32 (build_timm_backbone).
    cfg.MODEL.TIMM = CfgNode()
    cfg.MODEL.TIMM.NAME = "convnext_tiny"  # timm's own name of the network
    cfg.MODEL.TIMM.OUTPUT_STRIDE = 32  # 8 or 16 dilate the last stages in place of their stride
    # Stages that keep their weights and norms: 0 none, 1 the stem, 2 also res2, and so on.
    cfg.MODEL.TIMM.FREEZE_AT = 0
    cfg.MODEL.TIMM.FREEZE_NORM = False  # batch norms of all stages keep their pre-trained values
    # Out of stem (stride 2, where there is one), res2, res3, res4 and res5 (4 to 32).
    cfg.MODEL.TIMM.OUT_FEATURES = ["res2", "res3", "res4", "res5"]

    # HRNet over timm (build_hrnet_backbone).
    cfg.MODEL.HRNET = CfgNode()
    # hrnet_w18_small, hrnet_w18, hrnet_w32 or hrnet_w48.
    cfg.MODEL.HRNET.ARCHITECTURE = "hrnet_w48"
    cfg.MODEL.HRNET.OUT_FEATURES = ["res2"]  # out of stem, res2, res3, res4 and res5

    # The network that learns instances, and what it learns from.
    cfg.MODEL.BESTIE = CfgNode()
    cfg.MODEL.BESTIE.NUM_CLASSES = 20  # C: classes of the data set, without background
    # ConvInstanceHead (HRNet), DualDecoderInstanceHead (ResNet), or WSSSInstanceHead: the latter
    # with the head of MODEL.WSSS and its weights, for short trainings.
    cfg.MODEL.BESTIE.HEAD = "ConvInstanceHead"
    # Channels between the two convolutions of each branch of ConvInstanceHead; those of
    # DualDecoderInstanceHead's semantic decoder, 16 k, its others in proportion.
    cfg.MODEL.BESTIE.HEAD_CHANNELS = 256
    # PyTorch's momentum of every batch norm: 0.1 with HRNet, 0.01 with ResNet.
    cfg.MODEL.BESTIE.BATCH_NORM_MOMENTUM = 0.1
    # Both sides of a test image are resized up to a multiple of this. HRNet: 32 k.
    cfg.MODEL.BESTIE.SIZE_DIVISIBILITY = 32


def _add_label_keys(cfg: CfgNode) -> None:
    node = cfg.MODEL.BESTIE
    # "tags": cues found by a classifier. "points": one given point for each object; centers are
    # Gaussians at them, and refinement sends every pixel to one of them.
    node.SUPERVISION = "tags"

    # sigma: of the Gaussian around a center. This and all lengths of the semantic knowledge
    # transfer are in pixels of the training crop: choose them by the size of the objects there.
    node.SIGMA = 6.0
    # Above 0, sigma is this share of the square root of an object's pixels, where it is known.
    node.SIGMA_BY_SIZE = 0.0
    node.MIN_AREA = 50  # smaller components of the weak map are dropped; paper: 1
    node.WHOLE_PIXEL_CENTERS = True  # centroids cut to whole pixels; paper: False
    # Weight, up to 1, of the parts of components with several cues, whose pixels then go to the
    # nearest cue; 0: such components give no instance (paper: Section 3.3).
    node.SPLIT_WEIGHT = 0.0

    # Instance-aware guidance (IAG): center and offset losses on labeled instances only.
    node.IAG = True

    # The sum of the losses (paper: Eq. 6).
    node.LOSS = CfgNode()
    node.LOSS.SEM_SEG_WEIGHT = 1.0  # lambda_sem: of the semantic map
    node.LOSS.CENTER_WEIGHT = 200.0  # lambda_center: of the center map
    # lambda_offset: of the offset map. Offsets shrink with the objects.
    node.LOSS.OFFSET_WEIGHT = 0.01
    # Share of the hardest pixels in the semantic loss. Paper: 1.0, plain cross entropy.
    node.LOSS.SEM_SEG_TOP_K = 0.2
    # Share of the pseudo part of the center and offset losses while the refined part is there
    # too (Eq. 3, 4); alone it counts 1. Paper: 1.0.
    node.LOSS.PSEUDO_SHARE = 0.5
    node.LOSS.REFINED_SHARE = 0.5  # share of the refined part. Paper: 1.0

    # Online self-refinement.
    node.REFINEMENT = CfgNode()
    node.REFINEMENT.ENABLED = True  # False: pseudo labels alone (paper: Table 3)
    node.REFINEMENT.START_ITER = 0  # the first iteration with refined labels
    node.REFINEMENT.CENTER_THRESHOLD = 0.3  # centers are where the center map is above this
    node.REFINEMENT.KERNEL = 41  # odd side of the window in which a center is the largest
    node.REFINEMENT.MAX_INSTANCES = 5  # components that give more are left out
    # W: of a refined instance, "center_times_class" or "center" (paper: Eq. 2).
    node.REFINEMENT.WEIGHTING = "center_times_class"
    # Whose foreground is grouped: the "weak" map's or the "predicted" one's (a reading of Eq. 1).
    node.REFINEMENT.FOREGROUND = "weak"

    # Center clustering, in refinement from tags and, unless MODEL.BESTIE.TEST.CLUSTERING is off, at
    # inference. Lengths in pixels of the map that is grouped: the training crop, or the original
    # test image.
    node.CLUSTERING = CfgNode()
    node.CLUSTERING.ENABLED = True  # in refinement
    node.CLUSTERING.MAGNITUDE = 2.5  # offsets shorter than this ...
    node.CLUSTERING.AREA = 21  # ... over so many pixels ...
    node.CLUSTERING.AREA_TOLERANCE = 3  # epsilon: ... give or take fewer than this ...
    node.CLUSTERING.MIN_CENTER = 0.05  # ... where the center map is above this ...
    node.CLUSTERING.MIN_DISTANCE = 100.0  # ... so far from every local maximum are a center

    # Grouping at inference. Lengths in pixels of the original test image.
    node.TEST = CfgNode()
    node.TEST.CENTER_THRESHOLD = 0.1  # centers are where the center map is above this ...
    node.TEST.KERNEL = 41  # ... and the largest in a window of this odd side
    node.TEST.CLUSTERING = True  # with center clustering too
    node.TEST.MIN_AREA = 50  # smaller components of the semantic map are dropped
    node.TEST.KEEP_CENTERLESS = True  # a component without a center is one instance
    node.TEST.FLIP = False  # average with the mirrored image
    # An image whose tags are known: its foreground is shared among these classes alone. Right for
    # labels of training images, where export_pseudo_labels.py turns it on; no honest evaluation.
    node.TEST.USE_TAGS = False
    # In point supervision export_pseudo_labels.py takes the given points for the centers, in place
    # of those that are found; a predicted component that holds none of its class gives no label.
    # Evaluation and prediction know of no points. Not in the paper.
    node.TEST.USE_POINTS = False


def _add_classifier_keys(cfg: CfgNode) -> None:
    # VGG with dilation (build_vgg_backbone).
    cfg.MODEL.VGG = CfgNode()
    # vgg16 (ImageNet weights exist) or vgg_small (from scratch, for CPUs).
    cfg.MODEL.VGG.ARCHITECTURE = "vgg16"
    cfg.MODEL.VGG.OUT_FEATURES = ["block5"]  # out of block1 to block5

    # The classifier of image tags whose activations give cues.
    cfg.MODEL.PAM = CfgNode()
    cfg.MODEL.PAM.NUM_CLASSES = 20  # C: classes of the data set, without background
    # The backbone's output that the head is given: block5 (VGG), res5 (ResNet), res2 (HRNet).
    cfg.MODEL.PAM.IN_FEATURE = "block5"
    cfg.MODEL.PAM.HEAD_CHANNELS = 512  # of the head's 3x3 convolutions
    # Norm between those and their PAM, as Detectron2 names it ("BN"): training from scratch needs
    # one. Released recipe: none.
    cfg.MODEL.PAM.HEAD_NORM = ""
    # Layers with peak attention in place of ReLU: out of 4 and 5 (backbone) and 6 (the head's
    # convolutions). Paper, Table 8: 6 alone is best; () gives plain CAMs.
    cfg.MODEL.PAM.LAYERS = (6,)
    cfg.MODEL.PAM.ALPHA = 0.7  # alpha: activations below alpha x their channel's peak are zeroed
    # Activations of a test image.
    cfg.MODEL.PAM.TEST = CfgNode()
    cfg.MODEL.PAM.TEST.FLIP = True  # average with the mirrored image

    # Cues out of class activation maps. Lengths in pixels of the original image.
    cfg.MODEL.PAM.CUES = CfgNode()
    cfg.MODEL.PAM.CUES.SMOOTHING = 3  # odd side of the mean filter that comes first; 1 = none
    cfg.MODEL.PAM.CUES.KERNEL = 15  # odd side of the window in which a cue is the largest
    cfg.MODEL.PAM.CUES.MIN_SCORE = 0.1  # weaker ones are not written; see DATASETS.CUE_THRESHOLD
    cfg.MODEL.PAM.CUES.MAX_PER_CLASS = 25  # in an image


def _add_wsss_keys(cfg: CfgNode) -> None:
    # Built-in WSSS: single-stage segmentation from self-supervised masks (Araslanov & Roth 2020).
    cfg.MODEL.WSSS = CfgNode()
    node = cfg.MODEL.WSSS
    node.NUM_CLASSES = 20  # C: classes of the data set, without background
    # The backbone's output that ASPP is given: the last map of a ResNet. HRNet: res2.
    node.DEEP_FEATURE = "res5"
    node.SHALLOW_FEATURE = "res2"  # the one whose stride the masks have. HRNet: stem
    # Batch norms of the backbone keep their pre-trained values, and their activation if they have
    # one; group and layer norms are left as they are.
    node.FREEZE_BACKBONE_NORM = True
    node.HEAD_CHANNELS = 256  # of ASPP and of the decoder
    # Dilations of ASPP's 3x3 convolutions; these are DeepLabv3+'s for a deep feature of stride 8.
    node.ASPP_RATES = (12, 24, 36)
    # ASPP's branch with the image's mean. It and the injected cue let a network tell its tags from
    # the whole image; one that starts from scratch then marks the ground around small objects.
    node.ASPP_IMAGE_POOLING = True
    # psi: share of the shallow feature in the stochastic gate; 0 leaves out the gate and the cue of
    # the whole image that is injected there.
    node.PSI = 0.3
    node.DROPOUT = 0.5  # chance of a feature to be left out before the last convolution

    # The constant that a class's logit has to exceed. The higher, the smaller the masks of a class
    # that is not found yet, and the more a score hangs on the few best pixels.
    node.BACKGROUND_LOGIT = 1.0
    # Focal mask penalty (1 - m)^power log(offset + m), m the mean mask.
    node.FOCAL = CfgNode()
    node.FOCAL.POWER = 3.0  # p: the larger, the sooner a growing mask is left alone
    node.FOCAL.OFFSET = 0.01  # lambda: bounds the penalty of an empty mask

    # Self-supervised mask loss, from this iteration on: 5 epochs of VOC in batches of 16.
    node.MASK_LOSS_START = 3305
    node.MASK_LOSS_WEIGHT = 1.0  # beside the classification loss
    # Pixel-adaptive mask refinement (PAMR), on maps of the masks' stride; with
    # MODEL.WSSS.TEST.PAMR also on larger ones, where the same number of pixels is a shorter way.
    node.PAMR = CfgNode()
    node.PAMR.DILATIONS = (1, 2, 4, 8, 12, 24)  # pixels; eight neighbours at each
    node.PAMR.ITERATIONS = 10  # steps; in each a pixel takes the mean of these
    # Pseudo masks, the targets of the mask loss: pixels whose refined probability exceeds a share
    # of their class's largest in the image, and a lowest confidence.
    node.PSEUDO = CfgNode()
    # What the background's probability is raised to before the refinement. The higher, the more of
    # an object that is found in part gets into its pseudo mask; much higher, and masks grow over
    # the ground.
    node.PSEUDO.BACKGROUND_POWER = 1.0
    node.PSEUDO.FOREGROUND_SHARE = 0.6  # of classes
    node.PSEUDO.BACKGROUND_SHARE = 0.7  # of the background
    node.PSEUDO.MIN_CONFIDENCE = 0.2  # the lowest confidence of either

    # Weak maps out of the trained network.
    node.TEST = CfgNode()
    node.TEST.SCALES = (1.0, 0.5, 1.5, 2.0)  # of the test image; what is seen there is averaged
    node.TEST.SIZE_DIVISIBILITY = 1  # sides there are rounded to a multiple of it; HRNet: 32
    node.TEST.FLIP = True  # at each scale also the mirror image
    # What the background's probability is raised to: the higher, the larger the objects.
    node.TEST.BACKGROUND_POWER = 3.0
    node.TEST.USE_TAGS = True  # classes that an image is not tagged with are removed
    node.TEST.PAMR = False  # refine the probabilities once more ...
    node.TEST.PAMR_ITERATIONS = 10  # ... in so many steps ...
    # ... on maps of so many times the image's sides: the smaller, the further masks flow.
    node.TEST.PAMR_SCALE = 1.0
    # Then, on maps of that size, each pixel takes the mean of its superpixel, and of superpixels of
    # several scales, those of scikit-image's felzenszwalb, the mean of these; () leaves it out.
    node.TEST.SUPERPIXELS = ()
    node.TEST.CRF = False  # dense CRF at the end; needs the package pydensecrf


def _add_solver_keys(cfg: CfgNode) -> None:
    # Learning rate of everything but the backbone (of a feature pyramid: the network under it), as
    # a multiple of SOLVER.BASE_LR.
    cfg.SOLVER.HEAD_LR_FACTOR = 1.0
    # With SOLVER.AMP.ENABLED, what convolutions and products are computed in while training:
    # "bfloat16" (also on processors that have it), or "float16" (GPUs only; gradients are scaled).
    cfg.SOLVER.AMP.DTYPE = "bfloat16"
    # Adam in place of Detectron2's SGD.
    cfg.SOLVER.ADAM = False
    # Power of the polynomial decay of SOLVER.LR_SCHEDULER_NAME "WarmupPolynomialLR".
    cfg.SOLVER.POLY_POWER = 0.9
    # With every evaluation, the true positives of pseudo and refined labels are counted (paper:
    # Figure 6).
    cfg.TEST.LABEL_PROGRESS = CfgNode()
    cfg.TEST.LABEL_PROGRESS.DATASET = ""  # on this set with truth and weak labels ("" = none) ...
    cfg.TEST.LABEL_PROGRESS.IMAGES = 0  # ... and so many of its images (0 = all)
    # Detections an image that COCO AP counts; pycocotools' own number is 100.
    cfg.TEST.MAX_DETECTIONS_PER_IMAGE = 100
