"""Where the words of a lesson lead: other lessons, exercises, files of the package, papers.

Lessons and docstrings name these in plain text, because they are also read where no link works. The site turns the
names into links while it copies the text; nothing is linked that the site does not hold.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ARXIV, DOI = "https://arxiv.org/abs/", "https://doi.org/"

# As the text names a paper -> (its title, its address). The page of papers lists them in this order.
PAPERS = {
    "Eckart & Young 1936": ("The approximation of one matrix by another of lower rank", DOI + "10.1007/BF02288367"),
    "Shoemake 1985": ("Animating rotation with quaternion curves", DOI + "10.1145/325334.325242"),
    "McCloskey & Cohen 1989": (
        "Catastrophic interference in connectionist networks",
        DOI + "10.1016/S0079-7421(08)60536-8".replace("(", "%28").replace(")", "%29"),
    ),
    "Newcombe 1998": (
        "Interval estimation for the difference between independent proportions",
        DOI + "10.1002/%28SICI%291097-0258%2819980430%2917:8%3C873::AID-SIM779%3E3.0.CO;2-I",
    ),
    "UCI 1998": (
        "Optical recognition of handwritten digits (data set)",
        "https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
    ),
    "Brown, Cai & DasGupta 2001": ("Interval estimation for a binomial proportion", DOI + "10.1214/ss/1009213286"),
    "Vincent 2011": ("A connection between score matching and denoising autoencoders", DOI + "10.1162/NECO_a_00142"),
    "Kingma & Welling 2014": ("Auto-encoding variational Bayes", ARXIV + "1312.6114"),
    "Sohl-Dickstein et al. 2015": (
        "Deep unsupervised learning using nonequilibrium thermodynamics",
        ARXIV + "1503.03585",
    ),
    "Ronneberger et al. 2015": (
        "U-Net: convolutional networks for biomedical image segmentation",
        ARXIV + "1505.04597",
    ),
    "He et al. 2016": ("Deep residual learning for image recognition", ARXIV + "1512.03385"),
    "Sennrich et al. 2016": ("Neural machine translation of rare words with subword units", ARXIV + "1508.07909"),
    "Chen et al. 2016": ("Training deep nets with sublinear memory cost", ARXIV + "1604.06174"),
    "Vaswani et al. 2017": ("Attention is all you need", ARXIV + "1706.03762"),
    "Heusel et al. 2017": (
        "GANs trained by a two time-scale update rule (the Fréchet Inception distance)",
        ARXIV + "1706.08500",
    ),
    "Isola et al. 2017": ("Image-to-image translation with conditional adversarial networks", ARXIV + "1611.07004"),
    "Lim & Ye 2017": ("Geometric GAN (the hinge loss)", ARXIV + "1705.02894"),
    "Wu & He 2018": ("Group normalization", ARXIV + "1803.08494"),
    "Zhang et al. 2018": (
        "The unreasonable effectiveness of deep features as a perceptual metric",
        ARXIV + "1801.03924",
    ),
    "Song & Ermon 2019": ("Generative modeling by estimating gradients of the data distribution", ARXIV + "1907.05600"),
    "Shazeer 2020": ("GLU variants improve transformer", ARXIV + "2002.05202"),
    "Song & Ermon 2020": ("Improved techniques for training score-based generative models", ARXIV + "2006.09011"),
    "Ho et al. 2020": ("Denoising diffusion probabilistic models (DDPM)", ARXIV + "2006.11239"),
    "Song et al. 2021, app. D.2": (
        "Score-based generative modeling through stochastic differential equations",
        ARXIV + "2011.13456",
    ),
    "Song et al. 2021": ("Denoising diffusion implicit models (DDIM)", ARXIV + "2010.02502"),
    "Dosovitskiy et al. 2021": ("An image is worth 16×16 words (the vision transformer)", ARXIV + "2010.11929"),
    "Esser et al. 2021": ("Taming transformers for high-resolution image synthesis", ARXIV + "2012.09841"),
    "Nichol & Dhariwal 2021": ("Improved denoising diffusion probabilistic models", ARXIV + "2102.09672"),
    "Radford et al. 2021": ("Learning transferable visual models (CLIP)", ARXIV + "2103.00020"),
    "Hu et al. 2021": ("LoRA: low-rank adaptation of large language models", ARXIV + "2106.09685"),
    "Kingma et al. 2021": ("Variational diffusion models", ARXIV + "2107.00630"),
    "Meng et al. 2022": ("SDEdit: guided image synthesis and editing", ARXIV + "2108.01073"),
    "He et al. 2022": ("Masked autoencoders are scalable vision learners", ARXIV + "2111.06377"),
    "Rombach et al. 2022": ("High-resolution image synthesis with latent diffusion models", ARXIV + "2112.10752"),
    "Salimans & Ho 2022": ("Progressive distillation for fast sampling (velocity)", ARXIV + "2202.00512"),
    "Liu et al. 2022": ("Pseudo numerical methods for diffusion models on manifolds (PNDM)", ARXIV + "2202.09778"),
    "Yu et al. 2022": ("CoCa: contrastive captioners", ARXIV + "2205.01917"),
    "Karras et al. 2022": ("Elucidating the design space of diffusion-based generative models", ARXIV + "2206.00364"),
    "Ho & Salimans 2022": ("Classifier-free diffusion guidance", ARXIV + "2207.12598"),
    "Gal et al. 2022": ("An image is worth one word: textual inversion", ARXIV + "2208.01618"),
    "Lu et al. 2022": ("DPM-Solver++: fast solver for guided sampling", ARXIV + "2211.01095"),
    "Ruiz et al. 2023": ("DreamBooth: fine-tuning for subject-driven generation", ARXIV + "2208.12242"),
    "Yuksekgonul et al. 2023": ("When and why vision-language models behave like bags-of-words", ARXIV + "2210.01936"),
    "Kumari et al. 2023": ("Multi-concept customization (Custom Diffusion)", ARXIV + "2212.04488"),
    "Somepalli et al. 2023": ("Diffusion art or digital forgery? Investigating data replication", ARXIV + "2212.03860"),
    "Zhang et al. 2023": ("Adding conditional control to text-to-image diffusion models", ARXIV + "2302.05543"),
    "Mou et al. 2023": ("T2I-Adapter: more controllable ability for text-to-image models", ARXIV + "2302.08453"),
    "Ye et al. 2023": ("IP-Adapter: text compatible image prompt adapter", ARXIV + "2308.06721"),
    "Kalajdzievski 2023": ("A rank stabilization scaling factor for fine-tuning with LoRA", ARXIV + "2312.03732"),
    "Hoogeboom et al. 2023": (
        "Simple diffusion: end-to-end diffusion for high-resolution images",
        ARXIV + "2301.11093",
    ),
    "Peebles & Xie 2023": ("Scalable diffusion models with transformers (DiT)", ARXIV + "2212.09748"),
    "Liu et al. 2023": ("Flow straight and fast: rectified flow", ARXIV + "2209.03003"),
    "Lipman et al. 2023": ("Flow matching for generative modeling", ARXIV + "2210.02747"),
    "Albergo & Vanden-Eijnden 2023": ("Building normalizing flows with stochastic interpolants", ARXIV + "2209.15571"),
    "Hertz et al. 2023": ("Prompt-to-prompt image editing with cross-attention control", ARXIV + "2208.01626"),
    "Meng et al. 2023": ("On distillation of guided diffusion models", ARXIV + "2210.03142"),
    "Kingma & Gao 2023": ("Understanding diffusion objectives as the ELBO", ARXIV + "2303.00848"),
    "Song et al. 2023": ("Consistency models", ARXIV + "2303.01469"),
    "Sauer et al. 2023": ("Adversarial diffusion distillation (SDXL Turbo)", ARXIV + "2311.17042"),
    "Carlini et al. 2023": ("Extracting training data from diffusion models", ARXIV + "2301.13188"),
    "Podell et al. 2023": ("SDXL: improving latent diffusion models", ARXIV + "2307.01952"),
    "Luo et al. 2023": ("Latent consistency models", ARXIV + "2310.04378"),
    "Liu et al. 2024": ("InstaFlow: one step is enough for text-to-image generation", ARXIV + "2309.06380"),
    "Yin et al. 2024": ("One-step diffusion with distribution matching distillation", ARXIV + "2311.18828"),
    "Esser et al. 2024": (
        "Scaling rectified flow transformers for high-resolution image synthesis (Stable Diffusion 3)",
        ARXIV + "2403.03206",
    ),
    "Lin et al. 2024": ("Common diffusion noise schedules and sample steps are flawed", ARXIV + "2305.08891"),
    "Kouzelis et al. 2025": ("EQ-VAE: equivariance regularized latent space", ARXIV + "2502.09509"),
}
PAPER = re.compile("|".join(re.escape(name).replace(r"\ ", r"\s+") for name in sorted(PAPERS, key=len, reverse=True)))
LESSON = re.compile(r"\b[Ll]essons?\s+\d\d\b(?:(?:,| and| to|, and)\s+\d\d\b)*")
# What must not change: code blocks, code, formulas, links, HTML tags.
KEPT = re.compile(
    r"```.*?```|~~~.*?~~~|\$\$.*?\$\$|\$[^$\n]+(?:\n[^$\n]+)?\$|`[^`\n]+`|!?\[[^\]]*\]\([^)]*\)|<[^>]+>|^#+ .*?$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Book:
    """What the site holds, as seen from one of its folders.

    Args:
        lessons: number of a lesson -> its page, seen from the page that is written.
        exercises: number of a lesson -> the page of its exercises.
        files: path of a file of the repository -> the page about it.
    """

    lessons: dict[str, str]
    exercises: dict[str, str]
    files: dict[str, str]

    def linked(self, text: str) -> str:
        """The same Markdown, with links where it names a lesson, an exercise, a file or a paper."""
        parts, last = [], 0
        for kept in KEPT.finditer(text):
            parts += [self.prose(text[last : kept.start()]), self.code(kept[0])]
            last = kept.end()
        return "".join([*parts, self.prose(text[last:])])

    def prose(self, text: str) -> str:
        """Links for papers and lessons in text that holds neither code nor formulas."""
        text = PAPER.sub(lambda found: f"[{found[0]}]({PAPERS[' '.join(found[0].split())][1]})", text)
        parts = re.split(r"(\[[^\]]*\]\([^)]*\))", text)
        return "".join(part if part.startswith("[") else LESSON.sub(self.lesson, part) for part in parts)

    def lesson(self, found: re.Match) -> str:
        """Each number in "lessons 02, 03 and 12" as a link; a single lesson with its word."""
        numbers = re.findall(r"\d\d", found[0])
        if len(numbers) == 1 and numbers[0] in self.lessons:
            return f"[{' '.join(found[0].split())}]({self.lessons[numbers[0]]})"
        return re.sub(r"\d\d", lambda number: self.numbered(number[0]), found[0])

    def numbered(self, number: str) -> str:
        """The number of a lesson as a link."""
        return f"[{number}]({self.lessons[number]})" if number in self.lessons else number

    def code(self, text: str) -> str:
        """A link around `tinyldm/vae.py`, if there is a page about it; anything else as it is."""
        if not re.fullmatch(r"`[^`]+`", text):
            return text
        name = text.strip("`").removeprefix("../")
        number = re.fullmatch(r"exercises/(\d\d)_\w+\.ipynb", name)
        if number and number[1] in self.exercises:
            return f"[the exercises of this lesson]({self.exercises[number[1]]})"
        page = self.files.get(name.rstrip("/")) or self.files.get(f"tinyldm/{name.rstrip('/')}")
        return f"[{text}]({page})" if page else text
