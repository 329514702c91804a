import { type LookupAddress, type LookupAllOptions, type LookupOptions, lookup as systemLookup } from 'node:dns'
import { isIP, type LookupFunction } from 'node:net'

/** The first address of a name, of `family` if it is given. Rejects with whatever the lookup failed with, thrown or called back. */
export function lookupAddress(host: string, lookup: LookupFunction | undefined, family?: 4): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { all: true, ...(family === undefined ? {} : { family }) } as const
    // A throw inside this function is a rejection.
    ask(lookup ?? systemLookup, host, options, (error, addresses) => {
      // A lookup of the caller's own may not care for the family.
      const first = addresses.find((entry) => family === undefined || entry.family === family)
      if (error !== null) reject(error)
      else if (first === undefined) reject(notFound(host))
      else resolve(first.address)
    })
  })
}

/**
 * A caller's lookup made fit for `net.connect`, which does not survive one that throws, nor one that calls back with a
 * single address where a list was asked for.
 */
export function guardLookup(lookup: LookupFunction | undefined): LookupFunction | undefined {
  if (lookup === undefined) return undefined
  return (host, options, callback) => {
    ask(lookup, host, options, (error, addresses) => {
      const [first] = addresses
      if (error !== null || first === undefined) callback(error ?? notFound(host), [])
      else if (options.all) callback(null, addresses)
      else callback(null, first.address, first.family)
    })
  }
}

type Answer = (error: NodeJS.ErrnoException | null, addresses: readonly LookupAddress[] & LookupAddress[]) => void

/**
 * Calls a lookup and brings its answer, a list or a single address, into one form. Nothing of it is trusted: it may be an
 * async function that rejects, call back twice, or hand over what is no address.
 */
function ask(lookup: LookupFunction, host: string, options: LookupOptions | LookupAllOptions, answer: Answer): void {
  let isAnswered = false
  const once: Answer = (error, addresses) => {
    if (isAnswered) return
    isAnswered = true
    answer(error, addresses)
  }
  try {
    const returned: unknown = lookup(host, options, (error, found) => {
      if (error) once(error, [])
      else once(null, addressesOf(found))
    })
    Promise.resolve(returned).catch((error) => once(error, []))
  } catch (error) {
    // In a turn of its own, as every answer of a lookup is.
    process.nextTick(() => once(asError(error), []))
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error('the lookup failed')
}

function addressesOf(found: unknown): LookupAddress[] {
  const entries: unknown[] = Array.isArray(found) ? found : [found]
  return entries.flatMap((entry) => {
    const address: unknown = typeof entry === 'object' && entry !== null ? Reflect.get(entry, 'address') : entry
    return typeof address === 'string' && isIP(address) !== 0 ? [{ address, family: isIP(address) }] : []
  })
}

function notFound(host: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`no address for ${host}`), { code: 'ENOTFOUND' })
}
