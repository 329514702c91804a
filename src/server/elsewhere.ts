import type { HostAndPort } from './bind-options.js'
import { untilCancelled } from './cancellation.js'
import type { Outbound } from './outbound.js'
import { assertAddress } from './reachable.js'
import type { OutboundTarget } from './request.js'

/** What a hook opens in place of this server: a listener, a relay of datagrams. */
export interface Elsewhere {
  readonly address: HostAndPort
  close(): unknown
}

/** Which hook is asked, and the methods that its result must have. */
export interface ElsewhereHook<T extends Elsewhere> {
  /** As errors name it: `bind.listen`. */
  readonly name: string
  readonly open: (request: OutboundTarget & { readonly signal: AbortSignal }) => T | Promise<T>
  readonly methods: readonly string[]
}

/**
 * Asks a hook, no longer than a dial may take. What it made is ended when nobody can use it. Rejects with what the hook
 * throws, or a TypeError for what it returned.
 */
export async function openElsewhere<T extends Elsewhere>(
  outbound: Outbound,
  target: OutboundTarget,
  { name, open, methods }: ElsewhereHook<T>,
): Promise<T> {
  const operation = outbound.operation(target)
  try {
    const asked = Object.freeze({ ...target, signal: operation.signal })
    const elsewhere = await untilCancelled(operation, () => open(asked), closeElsewhere)
    try {
      assertElsewhere(elsewhere, name, methods)
    } catch (error) {
      closeElsewhere(elsewhere)
      throw error
    }
    return elsewhere
  } finally {
    operation.done()
  }
}

/** What the application's own throws at its end is nobody's to answer. */
export function closeElsewhere(elsewhere: Elsewhere | undefined): void {
  try {
    elsewhere?.close?.()
  } catch {}
}

function assertElsewhere(elsewhere: Elsewhere | undefined, name: string, methods: readonly string[]): void {
  for (const method of methods) {
    if (typeof Reflect.get(Object(elsewhere), method) !== 'function')
      throw new TypeError(`${name} returned nothing with a method ${method}`)
  }
  assertAddress(elsewhere?.address, name)
}
