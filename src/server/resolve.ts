import { type LookupAddress, type LookupOptions, lookupService, lookup as systemLookup } from 'node:dns'
import { canonicalIP, type Destination, parseDestination } from '../codec/index.js'
import type { Candidate } from './dial.js'

/** The signature of `dns.lookup`, as `net.connect` takes it. Either shape of answer will do. */
export type Lookup = (
  hostname: string,
  options: LookupOptions,
  callback: (error: NodeJS.ErrnoException | null, address: string | LookupAddress[], family?: number) => void,
) => void

/** The addresses of a destination, canonical and without repeats; a literal is its own. Rejects with the resolver's error. */
export async function resolveDestination(
  destination: Destination,
  lookup: Lookup = defaultLookup,
): Promise<Candidate[]> {
  const { type, host, port } = destination
  if (type !== 'domain') return [{ type, host, port }]
  const answer = await new Promise<unknown>((resolve, reject) => {
    const returned: unknown = lookup(host, { all: true }, (error, addresses) =>
      error ? reject(error) : resolve(addresses),
    )
    // An async function in its place: its rejection is an answer, too.
    Promise.resolve(returned).catch(reject)
  })
  const candidates = new Map<string, Candidate>()
  for (const address of addressesOf(answer)) {
    // Zones, and whatever else a resolver may return that is no IP literal: no rule could judge it.
    const literal = canonicalIP(address)
    if (literal !== undefined && !isUnspecified(literal.host)) candidates.set(literal.host, { ...literal, port })
  }
  if (candidates.size > 0) return [...candidates.values()]
  throw Object.assign(new Error(`no usable address for ${host}`), { code: 'ENOTFOUND' })
}

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

/** Systems connect these to themselves; as an answer of DNS they are a way to block a name. */
export function isUnspecified(host: string): boolean {
  return host === '0.0.0.0' || host === '::'
}

const defaultLookup: Lookup = (hostname, options, callback) =>
  systemLookup(hostname, { ...options, all: true }, (error, addresses) => callback(error, addresses ?? []))
