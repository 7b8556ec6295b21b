"""The twelve two-dimensional sets of MedMNIST v2: what is in them and how to know their files.

Names, numbers of pictures, licences and MD5 checksums are those that the publisher states with release 3.0.2, whose
files lie at Zenodo, record 10519652.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from research.task import Kind

Name = Literal[
    "pathmnist",
    "chestmnist",
    "dermamnist",
    "octmnist",
    "pneumoniamnist",
    "retinamnist",
    "breastmnist",
    "bloodmnist",
    "tissuemnist",
    "organamnist",
    "organcmnist",
    "organsmnist",
]
Size = Literal[28, 64, 128, 224]
SIZES = (28, 64, 128, 224)

MEDMNIST = (
    "J. Yang, R. Shi, D. Wei, Z. Liu, L. Zhao, B. Ke, H. Pfister, B. Ni: MedMNIST v2 - A large-scale lightweight "
    "benchmark for 2D and 3D biomedical image classification. Scientific Data 10, 41 (2023). "
    "doi:10.1038/s41597-022-01721-8"
)
HOMEPAGE = "https://medmnist.com"
ADDRESS = "https://zenodo.org/records/10519652/files/{file}?download=1"


@dataclasses.dataclass(frozen=True)
class MedMNISTSet:
    """One set.

    Attributes:
        summary: one line: what a picture is and what is predicted.
        kind: kind of the targets.
        classes: names of the classes or labels in the order of their numbers in the file.
        counts: pictures in train, validation and test.
        channels: 1 grey, 3 colour.
        md5: checksum of the file of each size in ``SIZES``.
        source: the work that the pictures are from.
        patients: what is known of pictures of one patient.
        licence: of the pictures.
        ordinal: whether the classes are grades.
        cases: pictures of each class, or with each label, in train, validation and test, as counted in the files by
            several who have them; None where no such count was at hand.
        positive: number of the positive class in the file, for ``binary``.
    """

    summary: str
    kind: Kind
    classes: tuple[str, ...]
    counts: tuple[int, int, int]
    channels: int
    md5: tuple[str, str, str, str]
    source: str
    patients: str
    licence: str = "CC BY 4.0"
    cases: tuple[tuple[int, ...] | None, tuple[int, ...] | None, tuple[int, ...] | None] = (None, None, None)
    ordinal: bool = False
    positive: int = 1


_LITS = (
    "P. Bilic et al.: The Liver Tumor Segmentation Benchmark (LiTS). Medical Image Analysis 84, 102680 (2023); "
    "X. Xu et al.: Efficient multiple organ localization in CT image using 3D region proposal network. IEEE "
    "Transactions on Medical Imaging 38, 1885-1898 (2019)"
)
_ORGANS = (
    *("bladder", "left femur", "right femur", "heart", "left kidney", "right kidney", "liver", "left lung"),
    *("right lung", "pancreas", "spleen"),
)
_SCANS = "several pictures of one CT scan; the official splits keep scans together"

SETS: dict[str, MedMNISTSet] = {
    "pathmnist": MedMNISTSet(
        summary="107,180 patches of colorectal histology slides (H&E); 9 kinds of tissue",
        kind="multiclass",
        classes=(
            *("adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa"),
            *("cancer-associated stroma", "colorectal adenocarcinoma epithelium"),
        ),
        counts=(89996, 10004, 7180),
        cases=(
            (9366, 9509, 10360, 10401, 8006, 12182, 7886, 9401, 12885),
            (1041, 1057, 1152, 1156, 890, 1354, 877, 1045, 1432),
            (1338, 847, 339, 634, 1035, 592, 741, 421, 1233),
        ),
        channels=3,
        md5=(
            "a8b06965200029087d5bd730944a56c1",
            "55aa9c1e0525abe5a6b9d8343a507616",
            "ac42d08fb904d92c244187169d1fd1d9",
            "2c51a510bcdc9cf8ddb2af93af1eadec",
        ),
        source=(
            "J. N. Kather et al.: Predicting survival from colorectal cancer histology slides using deep learning. "
            "PLoS Medicine 16, e1002730 (2019)"
        ),
        patients="many patches of one slide; test is of other patients, from another clinic",
    ),
    "chestmnist": MedMNISTSet(
        summary="112,120 frontal chest films of 30,805 patients (NIH ChestX-ray14); 14 findings, mined from reports",
        kind="multilabel",
        classes=(
            *("atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia"),
            *("pneumothorax", "consolidation", "edema", "emphysema", "fibrosis", "pleural thickening", "hernia"),
        ),
        counts=(78468, 11219, 22433),
        cases=(
            (7996, 1950, 9261, 13914, 3988, 4375, 978, 3705, 3263, 1690, 1799, 1158, 2279, 144),
            (1119, 240, 1292, 2018, 625, 613, 133, 504, 447, 200, 208, 166, 372, 41),
            (2420, 582, 2754, 3938, 1133, 1335, 242, 1089, 957, 413, 509, 362, 734, 42),
        ),
        channels=1,
        md5=(
            "02c8a6516a18b556561a56cbdd36c4a8",
            "9de6cd0b934ebb5b7426cfba5efbae16",
            "db107e5590b27930b62dbaf558aebee3",
            "45bd33e6f06c3e8cdb481c74a89152aa",
        ),
        source=(
            "X. Wang et al.: ChestX-ray8: Hospital-scale chest X-ray database and benchmarks on weakly-supervised "
            "classification and localization of common thorax diseases. CVPR, 3462-3471 (2017)"
        ),
        patients="several films of many patients (30,805 in all), but the file does not say whose each film is",
    ),
    "dermamnist": MedMNISTSet(
        summary="10,015 dermatoscopic pictures of pigmented skin lesions (HAM10000); 7 diagnoses",
        kind="multiclass",
        classes=(
            *("actinic keratosis or intraepithelial carcinoma", "basal cell carcinoma", "benign keratosis-like lesion"),
            *("dermatofibroma", "melanoma", "melanocytic nevus", "vascular lesion"),
        ),
        counts=(7007, 1003, 2005),
        cases=((228, 359, 769, 80, 779, 4693, 99), (33, 52, 110, 12, 111, 671, 14), (66, 103, 220, 23, 223, 1341, 29)),
        channels=3,
        md5=(
            "0744692d530f8e62ec473284d019b0c7",
            "b70a2f5635c6199aeaa28c31d7202e1f",
            "2defd784463fa5243564e855ed717de1",
            "8974907d8e169bef5f5b96bc506ae45d",
        ),
        source=(
            "P. Tschandl, C. Rosendahl, H. Kittler: The HAM10000 dataset. Scientific Data 5, 180161 (2018); N. Codella "
            "et al.: Skin lesion analysis toward melanoma detection 2018. arXiv:1902.03368 (2019)"
        ),
        licence="CC BY-NC 4.0",
        patients="several pictures of some lesions, and the official splits divide them: test numbers may be too high",
    ),
    "octmnist": MedMNISTSet(
        summary="109,309 optical coherence tomographies of the retina; 3 diseases or normal",
        kind="multiclass",
        classes=("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
        counts=(97477, 10832, 1000),
        channels=1,
        md5=(
            "c68d92d5b585d8d81f7112f81e2d0842",
            "e229e9440236b774d9f0dfef9d07bdaf",
            "0a97e76651ace45c5d943ee3f65b63ae",
            "abc493b6d529d5de7569faaef2773ba3",
        ),
        source=(
            "D. S. Kermany et al.: Identifying medical diagnoses and treatable diseases by image-based deep learning. "
            "Cell 172, 1122-1131 (2018)"
        ),
        patients="many pictures of one patient; nothing says that train and validation were divided by patient",
    ),
    "pneumoniamnist": MedMNISTSet(
        summary="5,856 chest films of children; pneumonia or normal",
        kind="binary",
        classes=("normal", "pneumonia"),
        counts=(4708, 524, 624),
        cases=((1214, 3494), (135, 389), (234, 390)),
        channels=1,
        md5=(
            "28209eda62fecd6e6a2d98b1501bb15f",
            "8f4eceb4ccffa70c672198ea285246c6",
            "05b46931834c231683c68f40c47b2971",
            "d6a3c71de1b945ea11211b03746c1fe1",
        ),
        source=(
            "D. S. Kermany et al.: Identifying medical diagnoses and treatable diseases by image-based deep learning. "
            "Cell 172, 1122-1131 (2018)"
        ),
        patients="several films of some children; nothing says that train and validation were divided by child",
    ),
    "retinamnist": MedMNISTSet(
        summary="1,600 photographs of the retina (DeepDRiD); 5 grades of diabetic retinopathy",
        kind="multiclass",
        classes=("grade 0", "grade 1", "grade 2", "grade 3", "grade 4"),
        counts=(1080, 120, 400),
        cases=((486, 128, 206, 194, 66), (54, 12, 28, 20, 6), (174, 46, 92, 68, 20)),
        channels=3,
        md5=(
            "bd4c0672f1bba3e3a89f0e4e876791e4",
            "afda852cc34dcda56f86ad2b2457dbcc",
            "e48e916a24454daf90583d4e6efb1a18",
            "eae7e3b6f3fcbda4ae613ebdcbe35348",
        ),
        source=(
            "R. Liu et al.: DeepDRiD: Diabetic retinopathy - grading and image quality estimation challenge. Patterns "
            "3, 100512 (2022)"
        ),
        ordinal=True,
        patients="several photographs of one patient; nothing says that train and validation were divided by patient",
    ),
    "breastmnist": MedMNISTSet(
        summary="780 ultrasound pictures of the breast; malignant, or benign or normal",
        kind="binary",
        classes=("malignant", "normal or benign"),
        counts=(546, 78, 156),
        cases=((147, 399), (21, 57), (42, 114)),
        channels=1,
        md5=(
            "750601b1f35ba3300ea97c75c52ff8f6",
            "742edef2a1fd1524b2efff4bd7ba9364",
            "363e4b3f8d712e9b5de15470a2aaadf1",
            "b56378a6eefa9fed602bb16d192d4c8b",
        ),
        source=(
            "W. Al-Dhabyani, M. Gomaa, H. Khaled, A. Fahmy: Dataset of breast ultrasound images. Data in Brief 28, "
            "104863 (2020)"
        ),
        patients="several pictures of some of the 600 patients; nothing says that the splits were made by patient",
        positive=0,
    ),
    "bloodmnist": MedMNISTSet(
        summary="17,092 normal blood cells under the microscope; 8 kinds",
        kind="multiclass",
        classes=(
            *("basophil", "eosinophil", "erythroblast", "immature granulocyte", "lymphocyte", "monocyte"),
            *("neutrophil", "platelet"),
        ),
        counts=(11959, 1712, 3421),
        cases=(
            (852, 2181, 1085, 2026, 849, 993, 2330, 1643),
            (122, 312, 155, 290, 122, 143, 333, 235),
            (244, 624, 311, 579, 243, 284, 666, 470),
        ),
        channels=3,
        md5=(
            "7053d0359d879ad8a5505303e11de1dc",
            "2b94928a2ae4916078ca51e05b6b800b",
            "adace1e0ed228fccda1f39692059dd4c",
            "b718ff6835fcbdb22ba9eacccd7b2601",
        ),
        source=(
            "A. Acevedo et al.: A dataset of microscopic peripheral blood cell images for development of automatic "
            "recognition systems. Data in Brief 30, 105474 (2020)"
        ),
        patients="many cells of one person; nothing says that the splits were made by person",
    ),
    "tissuemnist": MedMNISTSet(
        summary="236,386 cells of human kidney cortex (BBBC051, maximum over 7 slices); 8 kinds",
        kind="multiclass",
        classes=(
            *("collecting duct, connecting tubule", "distal convoluted tubule", "glomerular endothelial cell"),
            *("interstitial endothelial cell", "leukocyte", "podocyte", "proximal tubule segment"),
            "thick ascending limb",
        ),
        counts=(165466, 23640, 47280),
        cases=(None, (7582, 1117, 838, 2201, 1684, 1101, 5601, 3516), None),
        channels=1,
        md5=(
            "ebe78ee8b05294063de985d821c1c34b",
            "123ece2eba09d0aa5d698fda57103344",
            "61b955355d7425a89687b06cca3ce0c2",
            "b077128c4a949f0a4eb01517f9037b9c",
        ),
        source=(
            "A. Woloshuk et al.: In situ classification of cell types in human kidney tissue using 3D nuclear "
            "staining. Cytometry Part A 99, 707-721 (2021); V. Ljosa et al., Nature Methods 9, 637 (2012)"
        ),
        patients="all cells are of 3 specimens, which the splits divide",
    ),
    "organamnist": MedMNISTSet(
        summary="58,830 axial slices of abdominal CT (LiTS), each the middle of an organ; 11 organs",
        kind="multiclass",
        classes=_ORGANS,
        counts=(34561, 6491, 17778),
        channels=1,
        md5=(
            "68e3f8846a6bd62f0c9bf841c0d9eacc",
            "2dcccc29b88e6da5a01161ef20cda288",
            "eeae80d0a227a8d099027e1b3cfd3b60",
            "50747347e05c87dd3aaf92c49f9f3170",
        ),
        source=_LITS,
        patients=_SCANS,
    ),
    "organcmnist": MedMNISTSet(
        summary="23,583 coronal slices of abdominal CT (LiTS), each the middle of an organ; 11 organs",
        kind="multiclass",
        classes=_ORGANS,
        counts=(12975, 2392, 8216),
        channels=1,
        md5=(
            "b9ceb9546e10131b32923c5bbeaea2b1",
            "3ce34a8724ea6f548e6db4744d03b6a9",
            "773c1f009daa3fe5d9a2a201b2a7ed94",
            "050f5e875dc056f6768abf94ec9995d1",
        ),
        source=_LITS,
        patients=_SCANS,
    ),
    "organsmnist": MedMNISTSet(
        summary="25,211 sagittal slices of abdominal CT (LiTS), each the middle of an organ; 11 organs",
        kind="multiclass",
        classes=_ORGANS,
        counts=(13932, 2452, 8827),
        channels=1,
        md5=(
            "9ab87b696fb54e2a387ebe992d6ed5f1",
            "53a6d115339d874c25e309a994ff46d3",
            "ded0c5fa01a95dc4978b956f613e9b8e",
            "b354719e553fbbb2513d5533f52a4cb1",
        ),
        source=_LITS,
        patients=_SCANS,
    ),
}
