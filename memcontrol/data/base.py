"""The datamodule that all sources of captioned images share."""

from __future__ import annotations

import hashlib
import logging
from abc import abstractmethod
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from memcontrol.data.burned_in import drop_burned_in, find_burned_in
from memcontrol.data.cache import VERDICTS, CacheOptions, clear_cache
from memcontrol.data.check import check_rows, raise_or_drop
from memcontrol.data.dataset import CaptionedImages
from memcontrol.data.encoding import encoded_images, encoded_texts
from memcontrol.data.images import Transform, Variant
from memcontrol.data.poisson import PoissonSampler, RandomStreams, Visits, collated
from memcontrol.data.readers import FileReader, ImageReader, Levels, Look, levels_of
from memcontrol.data.remarks import say_what_is_cut_off, say_what_is_there_twice
from memcontrol.data.sampler import EpochSampler, ResumableLoader
from memcontrol.data.splits import SPLITS, MemorizationSubset, assign_splits, coin_half, in_pool, in_share, take
from memcontrol.data.store import key_of
from memcontrol.data.tidying import named_splits, tidied, with_subjects, without_identified, without_patients
from memcontrol.described import Described
from memcontrol.errors import DataError
from memcontrol.files import worker_cache
from memcontrol.ranges import check_ranges
from memcontrol.types import ImageEncoder, TextEncoder

__all__ = ["CaptionedImageDataModule"]

log = logging.getLogger("memcontrol")

RANGES: Final = {
    "batch_size": "[1, 65536]",
    "eval_batch_size": "[1, 65536]",
    "num_workers": "[0, 256]",
    "split_fractions": "[0, 1]",
    "search_fraction": "[0, 1)",
    "test_pools": "[1, 1000]",
    "data_fraction": "(0, 1]",
    "max_train_images": "[1, inf)",
    "max_eval_images": "[1, inf)",
    "coin_flips": "[0, 1000000]",
    "seed": "[0, 4294967295]",
    "split_seed": "[0, 4294967295]",
}


class CaptionedImageDataModule(Described, LightningDataModule):
    """Images with captions, split by subject, checked, and encoded once.

    A source says which rows there are (`rows`) and how images are read (`reader`); everything else is here.

    Args:
        batch_size: Training samples per step and device.
        eval_batch_size: Validation and test samples per step and device.
        num_workers: Processes that load samples (0: none besides the main one).
        seed: Seed of the order and draws of training.
        split_seed: Seed of what is drawn of the rows (splits, shares, repeated rows) and of the noise of
            held-out samples; not linked to the run's seed, so runs of several seeds compare.
        split_fractions: Shares of subjects for train, validate and test, where the source has no splits.
        search_fraction: Share of the training subjects that is set apart for searching masks, in [0, 1).
        train_on: Which training subjects are trained on: `train`, those not set apart, or `search`, those that are.
        test_pools: Number of disjoint pools that the patients of test are divided into, so that what was decided by one
            of them can be tested on another.
        test_pool: Which of them is the test split, from 0; the others are left out.
        data_fraction: Seeded share of the training rows that is used, in (0, 1].
        max_train_images: Upper bound on the training rows, drawn by seed.
        max_eval_images: Upper bound on the rows of validation and of test, drawn by seed.
        memorization: Training images that are deliberately repeated.
        transform: Size, crop and flip.
        cache: Where encoded images and texts are kept.
        on_bad_row: Whether a bad row stops the run (`raise`) or is left out and listed in
            `rejected.csv` (`skip`).
        captions: Which caption is trained on where an image has several: the `first`, or `any` of them, drawn by seed
            at each visit. Scores and held-out losses use the first.
        each_image_a_subject: Whether each image is of another patient, where the rows name none: without patients,
            splits may share them, and every interval and test is too narrow.
        value_range: Values that are black and white in images deeper than 8 bits; by default one range for all, from
            the smallest and largest value of all rows that are used (see `memcontrol.data.readers.levels_of`).
        identifiers: Whether captions with dates, record or telephone numbers, or names after a title are only counted
            (`report`), or lose the sentences that hold them (`drop`).
        coin_flips: Number of a random half of the training patients and as many of test, drawn by a coin for each, that
            is trained on in place of the training split, while all others are the test split; halves 2j and 2j + 1 are
            each other's complement. For models whose patients are known to be chosen by nothing but a coin: the shadow
            models of an audit, say.
        exclude: A csv with a column `patient` (or `subject_id`), such as an audit's `leaking.csv` or a part of it:
            patients whose images are not used at all; all others stay in their splits.
        burned_in: Whether pictures are read by an OCR engine for writing, which a model can learn: not at all
            (`ignore`), counted (`report`), or left out (`drop`). Markers of side and position do not count. Takes about
            a second per picture and core, once.

    Raises:
        DataError: If a share, a bound or a range is out of order.
    """

    def __init__(
        self,
        batch_size: int = 16,
        eval_batch_size: int = 64,
        num_workers: int = 0,
        seed: int = 0,
        split_seed: int = 0,
        split_fractions: list[float] = [0.8, 0.1, 0.1],  # noqa: B006 - a default that YAML can show
        search_fraction: float = 0.0,
        train_on: Literal["train", "search"] = "train",
        test_pools: int = 1,
        test_pool: int = 0,
        data_fraction: float = 1.0,
        max_train_images: int | None = None,
        max_eval_images: int | None = None,
        memorization: MemorizationSubset = MemorizationSubset(),  # noqa: B008 - frozen
        transform: Transform = Transform(),  # noqa: B008 - frozen
        cache: CacheOptions = CacheOptions(),  # noqa: B008 - frozen
        on_bad_row: Literal["raise", "skip"] = "raise",
        captions: Literal["first", "any"] = "first",
        each_image_a_subject: bool = False,
        value_range: tuple[float, float] | None = None,
        identifiers: Literal["report", "drop"] = "report",
        burned_in: Literal["ignore", "report", "drop"] = "ignore",
        coin_flips: int | None = None,
        exclude: str | None = None,
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.split_seed = split_seed
        self.split_fractions = list(split_fractions)
        self.search_fraction = search_fraction
        self.train_on = train_on
        self.test_pools = test_pools
        self.test_pool = test_pool
        self.data_fraction = data_fraction
        self.max_train_images = max_train_images
        self.max_eval_images = max_eval_images
        self.memorization = memorization
        self.transform = transform
        self.cache = cache
        self.on_bad_row = on_bad_row
        self.captions = captions
        self.each_image_a_subject = each_image_a_subject
        self.identifiers = identifiers
        self.burned_in = burned_in
        self.coin_flips = coin_flips
        self.exclude = exclude
        self.levels = Levels(*value_range) if value_range is not None else None
        self.is_range_given = value_range is not None
        """Whether black and white of deep images were given, and not taken from them."""
        self.datasets: dict[str, CaptionedImages] = {}
        self.sizes = np.zeros((0, 2), dtype=np.int32)
        """Width and height of each image that is used, in pixels, with shape `(n, 2)`."""
        self.num_deep = 0
        """Number of images deeper than 8 bits."""
        self.split_at_random = False
        """Whether the patients were split here, at random, and not by the source."""
        check_ranges(DataError, "data", self, RANGES)
        if train_on == "search" and not search_fraction:
            raise DataError("Argument `data.search_fraction` must be above 0 to train on `search`, but got 0.")
        check_ranges(DataError, "data", self, {"test_pool": f"[0, {test_pools})"})
        self._pool: tuple[list[str], list[str]] = [], []
        """Patients of training and of test, before coins divide them."""
        self._poisson: tuple[float, int, RandomStreams] | None = None
        """How patients are taken by coins, where the module asks for it."""
        self._measured: set[str] = set()
        """Splits of which it was said how many captions are cut."""

    @abstractmethod
    def rows(self) -> pd.DataFrame:
        """Return the rows of the source.

        Returns:
            A table with the columns path and text (or a list of texts), and where the source knows them subject_id,
            label and split (`train`, `validate`, `test`, or what these are usually called).

        Raises:
            DataError: If the source is missing or malformed.
        """

    @property
    def reader(self) -> ImageReader:
        """How images are read."""
        return FileReader()

    # Lightning's hooks

    def setup(self, stage: str) -> None:
        """Read, check and split the rows, once."""
        if self.datasets:
            return
        if self.cache.clear:
            clear_cache(self.cache)
        table = self._with_splits(without_identified(tidied(self.rows()), self.identifiers))
        if self.exclude is not None:  # after the splits are drawn: all others stay where they were
            table = without_patients(table, self.exclude)
        used = pd.concat([self._used(split, table[table["split"] == split]) for split in SPLITS])
        table = self._divided_by_coins(self._checked(used.sort_index().reset_index(drop=True)))
        for split in SPLITS:
            self.datasets[split] = self._make_dataset(split, table[table["split"] == split])
        if "captions" in table:
            log.info(
                "%d images have several captions; training takes %s, all else the first (see `data.captions`)",
                int((table["captions"].map(len) > 1).sum()),
                "the first" if self.captions == "first" else "one of them by seed at each visit",
            )

    def train_dataloader(self) -> ResumableLoader:
        """Return seeded, resumable batches of the training split."""
        dataset = self.datasets["train"]
        rank, num_ranks = self._rank()
        if self._poisson is not None:
            patients = dataset.table["subject_id"].astype(str).to_numpy()[dataset.order].tolist()
            by_coins = PoissonSampler(patients, *self._poisson, rank, num_ranks)
            options = {**self._loader_options(), "batch_size": None, "collate_fn": collated}  # it yields whole batches
            return ResumableLoader(Visits(dataset), by_coins, self._progress, **options)
        sampler = EpochSampler(len(dataset), self.batch_size, self.seed, rank, num_ranks)
        options = {**self._loader_options(), "batch_size": sampler.batch_size, "drop_last": True}
        return ResumableLoader(dataset, sampler, self._progress, **options)

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the validation split in order."""
        return self._eval_loader("validate")

    def test_dataloader(self) -> DataLoader[Any]:
        """Return the test split in order."""
        return self._eval_loader("test")

    # What others ask for

    def take_patients(self, rate: float, draws: int, streams: RandomStreams) -> None:
        """Take each training patient into each batch by a coin of its own, from now on.

        Args:
            rate: Probability of each patient, in (0, 1].
            draws: Samples of each patient who is taken.
            streams: Where all random numbers of training come from; nothing of it is kept.
        """
        self._poisson = (rate, draws, streams)

    def take_rows(self) -> None:
        """Take rows by an epoch's order again, as in training without a bound."""
        self._poisson = None

    def table(self, split: str) -> pd.DataFrame:
        """Return the rows of a split, each once: path, text, subject_id, content and what else there is."""
        return self.datasets[split].table

    def training_set(self) -> str:
        """Return the digest of the training split's images: another set, or one image more, is another digest."""
        return hashlib.sha256("\n".join(sorted(self.table("train")["content"])).encode()).hexdigest()[:16]

    def coin_half(self, number: int) -> frozenset[str]:
        """Return the patients that are trained on with this number of `coin_flips`, whatever this module's own is."""
        training, others = self._pool
        return coin_half(training, others, number)

    @property
    def value_range(self) -> list[float] | None:
        """Values that are black and white in images deeper than 8 bits, or None where there are none."""
        return [self.levels.black, self.levels.white] if self.levels is not None else None

    def memorized_rows(self) -> np.ndarray:
        """Return the row numbers of the training split that are deliberately repeated."""
        rows, counts = np.unique(self.datasets["train"].order, return_counts=True)
        return rows[counts > 1] if self.memorization.repeats > 1 else rows[:0]

    def encode(self, splits: tuple[str, ...], images: ImageEncoder | None, texts: TextEncoder, batch_size: int) -> None:
        """Fill the cache with what is missing of these splits, and read from it from now on.

        Args:
            splits: Names of the splits.
            images: Encodes images, or None where latents are not to be cached.
            texts: Encodes captions.
            batch_size: Images or captions encoded at once.

        Raises:
            CacheError: If the cache has no room.
        """
        new = [split for split in splits if split not in self._measured]
        self._measured.update(new)
        captions = [text for split in new for text in self.datasets[split].all_texts()]
        # a worker says it in its first job
        worker_cache.cached(("cut", texts.digest, key_of(*captions)), lambda: texts.say_what_is_cut(captions))
        if not self.cache.enabled:
            log.info("The cache is off: each step encodes its images and texts")
            return
        for split in splits:
            dataset = self.datasets[split]
            dataset.text_states = encoded_texts(dataset, self.cache, texts, batch_size)
            if dataset.fresh_variants:
                log.info("Random crops and changes are drawn anew each time: each step encodes its images")
            elif images is not None:
                dataset.latents = encoded_images(dataset, self.cache, images, batch_size)

    # Parts

    def _with_splits(self, table: pd.DataFrame) -> pd.DataFrame:
        table = with_subjects(table.reset_index(drop=True), self.each_image_a_subject)
        self.split_at_random = "split" not in table
        if self.split_at_random:
            table = table.assign(split=assign_splits(table["subject_id"], self.split_fractions, self.split_seed))
        else:
            table = table.assign(split=named_splits(table["split"]))
        return self._without_the_other_part(table)

    def _without_the_other_part(self, table: pd.DataFrame) -> pd.DataFrame:
        """Leave out other test pools, and training subjects that are set apart for the search, or that are not."""
        test = table["split"] == "test"
        ours = in_pool(table["subject_id"], test, self.test_pools, self.test_pool, self.split_seed)
        table = table[~test | ours].reset_index(drop=True)
        if not self.search_fraction:
            return table
        training = table["split"] == "train"
        for_search = in_share(table["subject_id"], training, self.search_fraction, self.split_seed, "search")
        return table[~training | (for_search if self.train_on == "search" else ~for_search)].reset_index(drop=True)

    def _divided_by_coins(self, table: pd.DataFrame) -> pd.DataFrame:
        """Divide the patients of training and test anew, if that is asked for."""
        patients = table["subject_id"].astype(str).groupby(table["split"]).unique()
        self._pool = list(patients.get("train", [])), list(patients.get("test", []))
        if self.coin_flips is None:
            return table
        heads = table["subject_id"].astype(str).isin(self.coin_half(self.coin_flips))
        divided = table["split"] != "validate"
        self.split_at_random = True
        return table.assign(split=table["split"].mask(divided & heads, "train").mask(divided & ~heads, "test"))

    def _checked(self, table: pd.DataFrame) -> pd.DataFrame:
        ledger = self.cache.path / VERDICTS if self.cache.enabled else None
        folder = self.trainer.log_dir if self.trainer is not None else None
        checked, looks = check_rows(table, self.reader, ledger)
        good = raise_or_drop(checked, self.on_bad_row, Path(folder or self.cache.path) / "rejected.csv")
        if self.burned_in != "ignore":
            good = drop_burned_in(good, find_burned_in(good, self.reader, ledger), self.burned_in == "drop")
        self._learn([looks[path] for path in good["path"]])
        say_what_is_there_twice(good)
        return good

    def _learn(self, looks: list[Look]) -> None:
        """Choose the levels of deep images for all, and say what the transform leaves out."""
        deep = [look.deep for look in looks if look.deep is not None]
        self.sizes = np.array([look.size for look in looks], dtype=np.int32).reshape(-1, 2)
        self.num_deep = len(deep)
        if deep and self.levels is None:
            self.levels = levels_of(deep)
        if deep:
            log.info(
                "%d images are deeper than 8 bits: of their values, %s are black and white (see `data.value_range`)",
                len(deep),
                self.levels,
            )
        say_what_is_cut_off(self.transform, self.sizes)

    def _used(self, split: str, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of a split that are used: only these are looked at, and a bad one changes no other."""
        bound = self._num_rows(split, len(table))
        return table.iloc[take(len(table), bound, self.split_seed, split)]

    def _make_dataset(self, split: str, table: pd.DataFrame) -> CaptionedImages:
        table = table.reset_index(drop=True)
        if table.empty and split != "test":
            raise DataError(
                f"The split `{split}` has no rows. Where the table has a column of splits, name some of its rows "
                f"`{split}`, or leave the column out; else change `data.split_fractions` ({self.split_fractions}) or "
                "give more subjects."
            )
        is_training = split == "train"
        draws = is_training and not self.transform.is_cacheable
        variants = self.transform.variants() if is_training and not draws else [Variant()]
        return CaptionedImages(
            table,
            self.reader.with_levels(self.levels),
            self.transform,
            variants,
            order=self._training_order(len(table)) if is_training else None,
            seed=self.split_seed,
            fresh_variants=draws,
            any_caption=is_training and self.captions == "any",
        )

    def _num_rows(self, split: str, available: int) -> int:
        if split != "train":
            return min(available, self.max_eval_images or available)
        share = max(1, round(available * self.data_fraction))
        return min(share, self.max_train_images or share)

    def _training_order(self, num_rows: int) -> np.ndarray:
        subset = self.memorization
        if subset.num_images > num_rows:
            raise DataError(
                f"Argument `memorization.num_images` is {subset.num_images}, but there are only {num_rows} "
                "training rows. Lower it, or raise `data_fraction` or `max_train_images`."
            )
        repeated = take(num_rows, subset.num_images, self.split_seed, "memorization")
        return np.concatenate([np.arange(num_rows), np.repeat(repeated, subset.repeats - 1)])

    def _eval_loader(self, split: str) -> DataLoader[Any]:
        return DataLoader(self.datasets[split], batch_size=self.eval_batch_size, **self._loader_options())

    def _loader_options(self) -> dict[str, Any]:
        return {
            "num_workers": self.num_workers,
            "pin_memory": torch.cuda.is_available(),
            "persistent_workers": self.num_workers > 0,
        }

    def _rank(self) -> tuple[int, int]:
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    def _progress(self) -> tuple[int, int]:
        assert self.trainer is not None
        loop = self.trainer.fit_loop
        epoch = loop.epoch_progress.current.processed  # type: ignore[attr-defined]
        return epoch, loop.epoch_loop.batch_progress.current.ready
