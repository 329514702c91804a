// Bytes -> what they say, for people with a packet capture. Guesses from the bytes alone; never throws.

import { MASK } from './dissect-cursor.js'
import { type Candidate, readingsOf } from './dissect-readings.js'

/** Which kind of message a piece of a capture is. */
export type MessageKind =
  | 'greeting'
  | 'method selection'
  | 'credentials'
  | 'credentials status'
  | 'request'
  | 'reply'
  | 'UDP datagram'
  | 'SOCKS4 request'
  | 'SOCKS4 reply'
  | 'PROXY header'
  | 'tunnel data'
  | 'HTTP'
  | 'TLS'
  | 'unknown'

/** One field of a message. Fields stand in the order of the wire and do not overlap. */
export interface DissectedField {
  /** Counted from the first byte given to {@link dissect}. */
  readonly offset: number
  readonly length: number
  /** As the RFC calls it: `VER`, `DST.ADDR`. */
  readonly name: string
  /** A number in decimal, an address or text with everything unprintable escaped, or bytes in hexadecimal. */
  readonly value: string
  /** What the value stands for; empty where the value says it all. */
  readonly meaning: string
  /** The bytes are a password: `value` is masked, and its hexadecimal should not be shown either. */
  readonly secret: boolean
}

/** One message. */
export interface DissectedMessage {
  readonly kind: MessageKind
  readonly offset: number
  readonly length: number
  /** One line: `CONNECT www.google.com:443`. */
  readonly summary: string
  readonly fields: readonly DissectedField[]
}

/** Where bytes stop making sense. */
export interface DissectionProblem {
  /** Of the byte that is wrong; one past the last byte where some are missing. */
  readonly offset: number
  readonly message: string
}

/** What {@link dissect} makes of some bytes. */
export interface Dissection {
  readonly messages: readonly DissectedMessage[]
  /** Absent when every byte is accounted for. */
  readonly problem?: DissectionProblem
  /** Other ways to read the same bytes, most likely first, one line each. */
  readonly alternatives: readonly string[]
}

/** How to read. */
export interface DissectOptions {
  /** Who sent the bytes, where that is known: a request and a reply look the same. */
  readonly from?: 'client' | 'server' | undefined
  /** Show passwords. Default `false`. */
  readonly showSecrets?: boolean | undefined
}

/** A reading this much worse than the best is not worth a line. */
const ALTERNATIVE_MARGIN = 5

/**
 * Reads one datagram, or one direction of a conversation from its beginning or from the start of any message. Of all
 * readings the most consistent is taken: exact length first, then plausible values.
 */
export function dissect(bytes: Uint8Array, { from, showSecrets = false }: DissectOptions = {}): Dissection {
  if (bytes.length === 0) return { messages: [], problem: { offset: 0, message: 'no bytes' }, alternatives: [] }
  const candidates = readingsOf(bytes, showSecrets).filter(
    ({ side }) => from === undefined || side === undefined || side === from,
  )
  // Sorting keeps the order of equals, which is the order of likelihood.
  const [best, ...others] = candidates.sort((a, b) => a.cost - b.cost)
  if (best === undefined)
    return { messages: [], problem: { offset: 0, message: unlike(bytes, from) }, alternatives: [] }
  const sensible = candidates.filter(
    ({ cost, problem }) => problem === undefined || cost < best.cost + ALTERNATIVE_MARGIN,
  )
  const shown = (messages: readonly DissectedMessage[]) => (showSecrets ? messages : maskAll(messages, sensible))
  return {
    messages: shown(best.messages),
    ...(best.problem && { problem: best.problem }),
    alternatives: others
      .filter(({ cost }) => cost < best.cost + ALTERNATIVE_MARGIN)
      .map(({ messages, problem }) => describe(shown(messages), problem)),
  }
}

/**
 * Masks what any other sensible reading takes for a password: the best guess may be wrong, and a password that is shown
 * cannot be taken back.
 */
function maskAll(messages: readonly DissectedMessage[], readings: readonly Candidate[]): readonly DissectedMessage[] {
  const secrets = readings.flatMap((reading) =>
    reading.messages.flatMap(({ fields }) => fields.filter(({ secret }) => secret)),
  )
  const isNewSecret = ({ offset, length, secret }: DissectedField): boolean =>
    !secret && secrets.some((other) => offset < other.offset + other.length && other.offset < offset + length)
  return messages.map((message) => {
    if (!message.fields.some(isNewSecret)) return message
    const fields = message.fields.map((field) => (isNewSecret(field) ? { ...field, value: MASK, secret: true } : field))
    return { ...message, summary: MASK, fields }
  })
}

function describe(messages: readonly DissectedMessage[], problem: DissectionProblem | undefined): string {
  const text = messages.map(({ kind, summary }) => `${kind} (${summary})`).join(', then ')
  return problem === undefined ? text : `${text}; ${problem.message}`
}

function unlike([first = 0]: Uint8Array, from: DissectOptions['from']): string {
  const who = from === undefined ? '' : ` of a ${from}`
  return `0x${first.toString(16).padStart(2, '0')} begins no SOCKS message${who}`
}
