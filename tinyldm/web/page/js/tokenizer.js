// Captions become tokens. Beside `tokenize` of tinyldm/conditioning.py; the same numbers as CLIP's tokenizer there.
//
//   "A red circle" ─lower case─► words ─UTF-8─► byte pieces ─merges─► pieces ─vocabulary─► tokens (L,)

const SPACE = "\\t-\\r \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000"; // Unicode's white space
const START_OR_END = "<\\|startoftext\\|>|<\\|endoftext\\|>";
const ENDINGS = "'s|'t|'re|'ve|'m|'ll|'d";
const WORDS = new RegExp(`${START_OR_END}|${ENDINGS}|\\p{L}+|\\p{N}|[^${SPACE}\\p{L}\\p{N}]+`, "gu");
const PARTS = new RegExp(`${ENDINGS}|\\p{L}+|\\p{N}+|[^${SPACE}\\p{L}\\p{N}]+`, "gu");
const SPACES = new RegExp(`[${SPACE}]+`, "gu");
const WORD_END = "</w>"; // marks the piece that ends a word

/** One printable character for each byte, in GPT-2's order: those that print come first, the others from 256 on. */
function bytePieces() {
  const printable = (byte) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let hidden = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : hidden++));
}

export class Tokenizer {
  /** @param {{vocabulary: Object<string, number>, merges: string[][], special: Object<string, number>,
   *   start: number, end: number, pad: number, unknown: number, length: number}} info as model.json has it */
  constructor(info) {
    // Maps, because an object also has what every object has: "constructor" would be in any vocabulary.
    this.vocabulary = new Map(Object.entries(info.vocabulary));
    this.special = new Map(Object.entries(info.special));
    const { start, end, pad, unknown, length } = info;
    Object.assign(this, { start, end, pad, unknown, length });
    this.ranks = new Map(info.merges.map((pair, rank) => [pair.join(" "), rank]));
    this.bytes = bytePieces();
    this.names = new Map([...this.vocabulary, ...this.special].map(([piece, id]) => [id, piece]));
  }

  /** The pieces of a caption, each with the token it becomes and the word it is part of. Not cut, not padded. */
  pieces(caption) {
    const found = [];
    for (const part of this.splitAtSpecial(caption)) {
      if (this.special.has(part)) {
        found.push({ piece: part, token: this.special.get(part), word: part });
        continue;
      }
      for (const word of normalized(part).match(WORDS) ?? []) {
        for (const text of word.match(PARTS) ?? []) {
          for (const piece of this.merged(text)) {
            found.push({ piece, token: this.vocabulary.get(piece) ?? this.unknown, word: text });
          }
        }
      }
    }
    return found;
  }

  /** A caption as tokens (L,): start, pieces, end, padding; what is too long is cut off. */
  tokens(caption) {
    const ids = this.pieces(caption).map(({ token }) => token).slice(0, this.length - 2);
    const padded = [this.start, ...ids, this.end];
    return [...padded, ...Array(this.length - padded.length).fill(this.pad)];
  }

  /** What each of the L places shows a reader: the text of a piece, or the name of a special token. */
  labels(caption) {
    return this.tokens(caption).map((token, place) => {
      if (place === 0) return "start";
      return token === this.end ? "end" : (this.names.get(token) ?? "?").replace(WORD_END, "");
    });
  }

  /** "<|endoftext|>" is one token wherever somebody writes exactly that. */
  splitAtSpecial(caption) {
    const names = [...this.special.keys()].map((name) => name.replace(/[|\\{}()[\]^$+*?.]/g, "\\$&"));
    return names.length ? caption.split(new RegExp(`(${names.join("|")})`, "u")) : [caption];
  }

  /** Byte-pair encoding of one word: join the pair that was learnt first, until none is left. */
  merged(word) {
    let pieces = Array.from(new TextEncoder().encode(word), (byte) => this.bytes[byte]);
    pieces[pieces.length - 1] += WORD_END;
    while (pieces.length > 1) {
      const ranks = pieces.slice(1).map((piece, i) => this.ranks.get(`${pieces[i]} ${piece}`) ?? Infinity);
      const first = Math.min(...ranks);
      if (first === Infinity) break;
      pieces = joined(pieces, ranks, first);
    }
    return pieces;
  }
}

/** Join every pair of this rank, from left to right. */
function joined(pieces, ranks, rank) {
  const result = [];
  for (let i = 0; i < pieces.length; i++) {
    result.push(ranks[i] === rank ? pieces[i] + pieces[++i] : pieces[i]);
  }
  return result;
}

/** Composed characters, single spaces, lower case letter by letter (so that no Σ becomes a final ς). */
function normalized(text) {
  return Array.from(text.normalize("NFC").replace(SPACES, " "), (letter) => letter.toLowerCase()).join("");
}
