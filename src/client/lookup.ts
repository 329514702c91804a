import { type LookupAddress, type LookupAllOptions, type LookupOptions, lookup as systemLookup } from 'node:dns'
import { isIP, type LookupFunction } from 'node:net'

/** The first address of a name. Rejects with whatever the lookup failed with, thrown or called back. */
export function lookupAddress(host: string, lookup: LookupFunction | undefined): Promise<string> {
  return new Promise((resolve, reject) => {
    // A throw inside this function is a rejection.
    ask(lookup ?? systemLookup, host, { all: true }, (error, addresses) => {
      const [first] = addresses
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
    try {
      ask(lookup, host, options, (error, addresses) => {
        const [first] = addresses
        if (error !== null || first === undefined) callback(error ?? notFound(host), [])
        else if (options.all) callback(null, addresses)
        else callback(null, first.address, first.family)
      })
    } catch (error) {
      process.nextTick(callback, error, [])
    }
  }
}

type Answer = (error: NodeJS.ErrnoException | null, addresses: readonly LookupAddress[] & LookupAddress[]) => void

/** Calls a lookup and brings its answer, a list or a single address, into one form. */
function ask(lookup: LookupFunction, host: string, options: LookupOptions | LookupAllOptions, answer: Answer): void {
  lookup(host, options, (error, found, family) => {
    if (error) answer(error, [])
    else if (Array.isArray(found))
      answer(
        null,
        found.filter(({ address }) => isIP(address) !== 0),
      )
    else answer(null, isIP(found) === 0 ? [] : [{ address: found, family: family ?? isIP(found) }])
  })
}

function notFound(host: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`no address for ${host}`), { code: 'ENOTFOUND' })
}
