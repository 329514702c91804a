import { type LookupAddress, type LookupOptions, lookupService } from 'node:dns'
import { lookup as systemLookup } from 'node:dns/promises'
import { isUnspecified } from '../codec/destination.js'
import { canonicalIP, type Destination, parseDestination } from '../codec/index.js'
import type { Cancellation } from './cancellation.js'
import type { Candidate } from './dial.js'
import { FairLookups } from './fair-lookups.js'

/** The signature of `dns.lookup`, as `net.connect` takes it. Either shape of answer will do. */
export type Lookup = (
  hostname: string,
  options: LookupOptions,
  callback: (error: NodeJS.ErrnoException | null, address: string | LookupAddress[], family?: number) => void,
) => void

/** Who asks, for the turn that the question gets; and until when. */
export interface Asker {
  readonly clientAddress: string | undefined
  readonly cancellation: Cancellation
}

/**
 * Addresses of one name that are judged and dialed; further ones are dropped. No site has as many, but an answer of DNS has
 * room for thousands, each of which costs a rule and may cost an attempt.
 */
const MAX_ADDRESSES = 64

/**
 * The addresses of a destination, canonical and without repeats, 64 at the most; a literal is its own. Rejects with the
 * resolver's error.
 */
export async function resolveDestination(
  destination: Destination,
  lookup: Lookup | undefined,
  { clientAddress = '', cancellation }: Asker,
): Promise<Candidate[]> {
  const { type, host, port } = destination
  if (type !== 'domain') return [{ type, host, port }]
  const answer = await (lookup === undefined
    ? systemLookups.lookUp(host, clientAddress, cancellation)
    : ask(lookup, host))
  const candidates = new Map<string, Candidate>()
  for (const address of addressesOf(answer)) {
    // Zones, and whatever else a resolver may return that is no IP literal: no rule could judge it.
    const literal = canonicalIP(address)
    // 0.0.0.0 as an answer is a way to block a name.
    if (literal !== undefined && !isUnspecified(literal.host)) candidates.set(literal.host, { ...literal, port })
    if (candidates.size === MAX_ADDRESSES) break
  }
  if (candidates.size > 0) return [...candidates.values()]
  throw Object.assign(new Error(`no usable address for ${host}`), { code: 'ENOTFOUND' })
}

/** Asks a resolver of the application's own. */
function ask(lookup: Lookup, host: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const returned: unknown = lookup(host, { all: true }, (error, addresses) =>
      error ? reject(error) : resolve(addresses),
    )
    // An async function in its place: its rejection is an answer, too.
    Promise.resolve(returned).catch(reject)
  })
}

// Node looks names up in the threads of libuv, four unless the environment says otherwise, which files and cryptography use, too.
const THREADS = Math.max(1, Math.floor(Number(process.env.UV_THREADPOOL_SIZE ?? 4)) || 4)
const systemLookups = new FairLookups((host) => systemLookup(host, { all: true }), THREADS)

/** The name of an address, by the system's resolver, canonical. Rejects with its error. */
export function reverseLookup(host: string): Promise<string> {
  return new Promise((resolve, reject) => {
    lookupService(host, 0, (error, answer) => {
      const name = error === null ? canonicalName(answer) : undefined
      if (name === undefined) reject(error ?? noName(host))
      else resolve(name)
    })
  })
}

/** Whoever owns an address writes its name, and may write anything; a system that knows none answers with the address. */
function canonicalName(answer: string): string | undefined {
  try {
    const { type, host } = parseDestination(answer, 0)
    return type === 'domain' ? host : undefined
  } catch {
    return undefined
  }
}

function noName(host: string): Error {
  return Object.assign(new Error(`no name for ${host}`), { code: 'ENOTFOUND' })
}

/** Address texts of what a resolver answered, one or a list; nothing of it is trusted yet. */
function addressesOf(answer: unknown): string[] {
  const entries: unknown[] = Array.isArray(answer) ? answer : [answer]
  return entries
    .map((entry): unknown => (typeof entry === 'object' && entry !== null ? Reflect.get(entry, 'address') : entry))
    .filter((address) => typeof address === 'string')
}
