import { decodeAddress } from './address.js'
import { AddressType } from './constants.js'
import type { DissectedField, DissectedMessage, DissectionProblem, MessageKind } from './dissect.js'
import { formatIPv4, formatIPv6 } from './ip.js'

/** How implausible a reading is, in points; the lowest total wins. */
export const Cost = {
  /** Legal, and seldom seen. */
  unusual: 1,
  /** Legal, but nobody sends it. */
  odd: 3,
  /** The bytes end before the message does. */
  truncated: 4,
  /** A number that nobody assigned. */
  unassigned: 5,
  /** Cannot be. */
  wrong: 8,
} as const

// Of one length, whatever it hides.
export const MASK = '********'

/** Reads fields one after the other and remembers them; the first thing that is wrong ends the reading. */
export class Cursor {
  readonly bytes: Uint8Array
  readonly showSecrets: boolean
  readonly messages: DissectedMessage[] = []
  offset = 0
  cost = 0
  problem: DissectionProblem | undefined
  #fields: DissectedField[] = []
  #start = 0

  constructor(bytes: Uint8Array, showSecrets: boolean) {
    this.bytes = bytes
    this.showSecrets = showSecrets
  }

  /** Bytes not read yet. */
  get left(): number {
    return this.bytes.length - this.offset
  }

  /** The next byte, not taken. */
  get next(): number | undefined {
    return this.bytes[this.offset]
  }

  /** One byte as a number. `undefined` after a problem. */
  byte(name: string, meaning: (value: number) => string = () => ''): number | undefined {
    const value = this.next
    if (!this.#expect(1, name) || value === undefined) return undefined
    this.#add(name, 1, String(value), meaning(value))
    return value
  }

  /** Two bytes as a number, in network order. */
  word(name: string, meaning: (value: number) => string = () => ''): number | undefined {
    if (!this.#expect(2, name)) return undefined
    const value = ((this.bytes[this.offset] ?? 0) << 8) | (this.bytes[this.offset + 1] ?? 0)
    this.#add(name, 2, String(value), meaning(value))
    return value
  }

  /** Some bytes as text; a secret one is masked. */
  text(name: string, length: number, secret = false): string | undefined {
    if (!this.#expect(length, name, secret)) return undefined
    const value = escapeText(this.bytes.subarray(this.offset, this.offset + length))
    const masked = secret && !this.showSecrets
    if (length > 0) this.#add(name, length, masked ? MASK : value, masked ? 'not shown' : '', masked)
    return value
  }

  /** Some bytes as they are. */
  raw(name: string, length: number, meaning = ''): void {
    if (length > 0 && this.#expect(length, name))
      this.#add(name, length, preview(this.bytes, this.offset, length), meaning)
  }

  /** An address of 4 or 16 bytes. */
  ip(name: string, length: 4 | 16): string | undefined {
    if (!this.#expect(length, name)) return undefined
    const value = length === 4 ? formatIPv4(this.bytes, this.offset) : formatIPv6(this.bytes, this.offset)
    this.#add(name, length, value, '')
    return value
  }

  /** ATYP, address and port; what it returns is for a summary. */
  address(prefix: 'DST' | 'BND'): { readonly host: string; readonly port: number; readonly text: string } | undefined {
    const atyp = this.byte('ATYP', (value) => ATYP_NAMES[value] ?? 'unknown')
    if (atyp === undefined) return undefined
    if (ATYP_NAMES[atyp] === undefined) {
      this.fail(this.offset - 1, `unknown address type 0x${hex(atyp)} at byte ${this.offset - 1}`)
      return undefined
    }
    const host = this.#host(atyp, `${prefix}.ADDR`)
    const port = host === undefined ? undefined : this.word(`${prefix}.PORT`, (value) => SERVICES[value] ?? '')
    if (host === undefined || port === undefined) return undefined
    return { host, port, text: atyp === AddressType.ipv6 ? `[${host}]:${port}` : `${host}:${port}` }
  }

  /** Closes the message that was being read. */
  finish(kind: MessageKind, summary: string): void {
    if (this.offset > this.#start) {
      const { offset } = this
      this.messages.push({ kind, offset: this.#start, length: offset - this.#start, summary, fields: this.#fields })
    }
    this.#fields = []
    this.#start = this.offset
  }

  /** Something is wrong at a byte. Only the first such thing counts. */
  fail(offset: number, message: string, cost: number = Cost.wrong): void {
    if (this.problem !== undefined) return
    this.problem = { offset, message }
    this.cost += cost
  }

  #host(atyp: number, name: string): string | undefined {
    if (atyp === AddressType.ipv4) return this.ip(name, 4)
    if (atyp === AddressType.ipv6) return this.ip(name, 16)
    const length = this.byte(
      'LEN',
      (value) => `${value === 0 ? 'empty' : value} ${value === 0 ? 'name' : 'bytes of name'}`,
    )
    return length === undefined ? undefined : this.text(name, length)
  }

  #expect(length: number, name: string, secret = false): boolean {
    if (this.problem !== undefined) return false
    if (this.left >= length) return true
    const missing = length - this.left
    if (this.left > 0) {
      const masked = secret && !this.showSecrets
      const shown = masked ? MASK : preview(this.bytes, this.offset, this.left)
      this.#add(name, this.left, shown, 'cut short', masked)
    }
    this.fail(this.bytes.length, `cut short at byte ${this.bytes.length}: ${missing} more for ${name}`, Cost.truncated)
    return false
  }

  #add(name: string, length: number, value: string, meaning: string, secret = false): void {
    this.#fields.push({ offset: this.offset, length, name, value, meaning, secret })
    this.offset += length
  }
}

const ATYP_NAMES: { readonly [atyp: number]: string | undefined } = {
  [AddressType.ipv4]: 'IPv4',
  [AddressType.domain]: 'domain name',
  [AddressType.ipv6]: 'IPv6',
}

const SERVICES: { readonly [port: number]: string | undefined } = {
  22: 'ssh',
  25: 'smtp',
  53: 'domain',
  80: 'http',
  143: 'imap',
  443: 'https',
  587: 'submission',
  993: 'imaps',
}

/** Whether a whole address can be read at `offset`. */
export function hasAddress(bytes: Uint8Array, offset: number): boolean {
  try {
    return decodeAddress(bytes, offset) !== undefined
  } catch {
    return false
  }
}

/** Two hexadecimal digits. */
export function hex(byte: number): string {
  return byte.toString(16).padStart(2, '0')
}

function escapeText(bytes: Uint8Array): string {
  return Array.from(bytes, escapeByte).join('')
}

function escapeByte(byte: number): string {
  // Printable ASCII; a backslash is escaped so that "\x00" cannot be forged.
  const printable = byte >= 0x20 && byte < 0x7f && byte !== 0x5c
  return printable ? String.fromCharCode(byte) : `\\x${hex(byte)}`
}

function preview(bytes: Uint8Array, offset: number, length: number): string {
  const shown = Array.from(bytes.subarray(offset, offset + Math.min(length, 16)), hex).join(' ')
  return length > 16 ? `${shown} ...` : shown
}
