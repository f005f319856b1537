"""What a paper that uses a study's numbers has to cite: a BibTeX entry for each method and set."""

import re
from collections.abc import Iterable

from bench.method.loading import find_method
from bench.study.fields import Study

SETS = {
    "set5": "Bevilacqua et al., Low-Complexity Single-Image Super-Resolution Based on Nonnegative "
    "Neighbor Embedding, BMVC 2012",
    "set14": "Zeyde, Elad and Protter, On Single Image Scale-Up Using Sparse-Representations, "
    "Curves and Surfaces 2010",
    "bsd100": "Martin et al., A Database of Human Segmented Natural Images and Its Application to "
    "Evaluating Segmentation Algorithms and Measuring Ecological Statistics, ICCV 2001",
    "urban100": "Huang, Singh and Ahuja, Single Image Super-Resolution from Transformed "
    "Self-Exemplars, CVPR 2015",
    "div2k": "Agustsson and Timofte, NTIRE 2017 Challenge on Single Image Super-Resolution: "
    "Dataset and Study, CVPRW 2017",
    "pirm": "Blau et al., The 2018 PIRM Challenge on Perceptual Image Super-Resolution, ECCVW 2018",
    "ost300": "Wang et al., Recovering Realistic Texture in Image Super-Resolution by Deep Spatial "
    "Feature Transform, CVPR 2018",
    "dped": "Ignatov et al., DSLR-Quality Photos on Mobile Devices with Deep Convolutional "
    "Networks, ICCV 2017",
    "sid": "Chen et al., Learning to See in the Dark, CVPR 2018, arXiv:1805.01934",
    "lol": "Wei et al., Deep Retinex Decomposition for Low-Light Enhancement, BMVC 2018",
    "t91": "Yang et al., Image Super-Resolution via Sparse Representation, IEEE TIP 2010",
    "ava": "Murray, Marchesotti and Perronnin, AVA: A Large-Scale Database for Aesthetic Visual "
    "Analysis, CVPR 2012",
}
"""By how the names of sets begin."""

_CITED = re.compile(
    r"(?P<author>[\w-]+ et al\.|(?:[\w-]+, )*[\w-]+ and [\w-]+|[\w-]+), (?P<title>.+), "
    r"(?P<venue>[^,]*?)\s?(?P<year>(?:19|20)\d\d)(?:, (?:arXiv:(?P<eprint>[\d.]+)|.*))?"
)


def bibtex(study: Study) -> str:
    """Returns an entry for each method that names a paper and for each set of one.

    Authors are as the method's file has them: "Wang et al." becomes "Wang and others". A text that
    is no citation becomes a note.
    """
    cited = dict.fromkeys([*_of_methods(study), *_of_sets(study)])
    entries: dict[str, str] = {}
    for text in cited:
        key = _key(text)
        while key in entries:
            key += "a"
        entries[key] = _entry(key, text)
    return "\n".join(
        [f"% What the study {study.name} cites; written by bench.\n", *entries.values()]
    )


def _of_methods(study: Study) -> Iterable[str]:
    for section in study.methods.values():
        if section.use and section.use != "reference":
            try:
                text = find_method(section.use).paper
            except Exception:  # of a file that is gone or broken: a report needs records alone
                continue
            if text and not text.startswith("none"):
                yield text


def _of_sets(study: Study) -> Iterable[str]:
    for name in study.evaluate.datasets:
        yield from (text for begins, text in SETS.items() if name.startswith(begins))


def _key(text: str) -> str:
    if not (found := _CITED.fullmatch(text)):
        return re.sub(r"\W+", "", text.title())[:24]
    first = re.split(r"\W", found["author"])[0].lower()
    word = next((w for w in re.split(r"\W", found["title"]) if len(w) > 2), "")
    return f"{first}{found['year']}{word.lower()}"


def _entry(key: str, text: str) -> str:
    if not (found := _CITED.fullmatch(text)):
        return f"@misc{{{key},\n  note = {{{text}}},\n}}\n"
    author = found["author"].replace(" et al.", " and others").replace(", ", " and ")
    fields = {"author": author, "title": f"{{{found['title']}}}", "year": found["year"]}
    if found["venue"]:
        fields["booktitle"] = found["venue"]
    if found["eprint"]:
        fields |= {"eprint": found["eprint"], "archiveprefix": "arXiv"}
    kind = "inproceedings" if found["venue"] else "misc"
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
    return f"@{kind}{{{key},\n{lines}}}\n"
