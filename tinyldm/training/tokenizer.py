"""A byte-pair tokenizer like CLIP's, in which every word of the small world is one token.

CLIP's tokenizer was learnt from web text and has 49,408 entries. This one is learnt from the list of words
of the small world: 512 byte pieces (each byte inside a word, and at its end), one entry for each merge, and two
for start and end. A word that was never seen is still spelled out, in byte pieces.

Source: Sennrich et al. 2016, algorithm 1; the `vocab.json` + `merges.txt` of OpenAI's CLIP.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from heapq import heapify, heappop, heappush

from tinyldm.formats.tokenizers import END, START, Tokenizer, clip_bpe

WORD_END = "</w>"  # marks the piece that ends a word, so that no spaces need to be stored

Pair = tuple[str, str]


def byte_pieces() -> list[str]:
    """One printable character for each of the 256 bytes, in GPT-2's order, which CLIP inherited.

    The bytes that print as themselves come first; the others (control characters, space, …) are written
    as characters from 256 on.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(hidden))]


def learn_merges(words: Sequence[str]) -> list[Pair]:
    """Byte-pair encoding: join the most frequent pair of neighbours until every word is one piece.

    Args: words: lower-case ASCII words. Ties are broken alphabetically, so the result is always the same.
    Returns: the pairs, in the order in which a tokenizer has to join them.
    """
    spelled = [[*word[:-1], word[-1] + WORD_END] for word in words]
    counts: Counter[Pair] = Counter()
    where: dict[Pair, set[int]] = defaultdict(set)  # the words in which a pair is, or was
    for number, pieces in enumerate(spelled):
        for pair in zip(pieces, pieces[1:]):
            counts[pair] += 1
            where[pair].add(number)
    # Only the words in which a pair was joined are counted again. The heap keeps old entries, which are passed over.
    heap = [(-count, pair) for pair, count in counts.items()]
    heapify(heap)
    merges = []
    while heap:
        count, best = heappop(heap)
        if counts[best] != -count:
            continue
        merges.append(best)
        changed = set()
        for number in where.pop(best):
            before, after = spelled[number], join(spelled[number], best)
            spelled[number] = after
            for pair in zip(before, before[1:]):
                counts[pair] -= 1
                changed.add(pair)
            for pair in zip(after, after[1:]):
                counts[pair] += 1
                where[pair].add(number)
                changed.add(pair)
        for pair in changed:
            if counts[pair] > 0:
                heappush(heap, (-counts[pair], pair))
    return merges


def join(pieces: list[str], pair: Pair) -> list[str]:
    """Replace each occurrence of the pair in a spelled word by one piece."""
    result: list[str] = []
    for piece in pieces:
        if result and (result[-1], piece) == pair:
            result[-1] += piece
        else:
            result.append(piece)
    return result


def vocabulary(merges: list[Pair]) -> dict[str, int]:
    """All pieces in CLIP's order: bytes, bytes that end a word, merges, start, end. The end has the largest number."""
    pieces = byte_pieces()
    pieces += [piece + WORD_END for piece in pieces]
    pieces += ["".join(pair) for pair in merges] + [START, END]
    return {piece: number for number, piece in enumerate(pieces)}


def build_tokenizer(words: Sequence[str], length: int) -> Tokenizer:
    """A tokenizer to which each of `words` is one token.

    Args: words: lower-case words; length: tokens of a caption, start and end included, to pad to or cut at.
    """
    merges = learn_merges(sorted(set(words)))
    return Tokenizer(clip_bpe(vocabulary(merges), merges), END, length)
