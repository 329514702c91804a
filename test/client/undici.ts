import type { SocksConnector } from '../../src/client/connector.js'

/** What the tests use of undici, in whatever major. */
export interface Undici {
  readonly Agent: new (options: { connect: SocksConnector; allowH2?: boolean; connections?: number }) => Dispatcher
  fetch(url: string, options: object): Promise<Response>
}

/** A dispatcher of undici. */
export interface Dispatcher {
  close(): Promise<void>
  destroy(): Promise<void>
}

/** Whether this Node can load undici 8, which wants Node 22.19. */
const [nodeMajor = 0, nodeMinor = 0] = process.versions.node.split('.').map(Number)
const knows8 = nodeMajor > 22 || (nodeMajor === 22 && nodeMinor >= 19)

/** Every major of undici that this Node can load: all that there are from Node 22.19 on. */
export const undicis: readonly { readonly major: number; readonly undici: Undici }[] = [
  { major: 6, undici: checked(await import('undici6')) },
  { major: 7, undici: checked(await import('undici7')) },
  ...(knows8 ? [{ major: 8, undici: checked(await import('undici8')) }] : []),
]

/** Node's own `fetch`, with the dispatcher of the major that Node has built in. */
export function builtIn(): Undici {
  const major = Number(process.versions.undici?.split('.')[0])
  const match = undicis.find((entry) => entry.major === major)
  if (match === undefined) throw new Error(`Node ${process.version} has undici ${major} built in, which is not tested`)
  return { Agent: match.undici.Agent, fetch: (url, options) => fetch(url, options) }
}

/** Their types differ in what the tests do not use; that a connector fits is checked where they are used. */
function checked(undici: { Agent: unknown; fetch: unknown }): Undici {
  return undici as Undici
}
