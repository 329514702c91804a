import type { Arrival } from './arrival.js'
import type { ClientConnection } from './client-connection.js'
import { FrontDoor } from './front-door.js'
import { type ServerOptions, type ServerSettings, serverSettings } from './options.js'
import { SocksConnection } from './socks-connection.js'

/**
 * A SOCKS server that listens on nothing yet.
 * @throws TypeError, RangeError for options that are unknown, of a wrong type, or contradict each other.
 */
export function createSocksServer(options: ServerOptions = {}): SocksServer {
  return new SocksServer(options)
}

/** See {@link createSocksServer}. */
export class SocksServer extends FrontDoor {
  readonly #settings: ServerSettings

  /** Use {@link createSocksServer}. */
  constructor(options: ServerOptions) {
    const settings = serverSettings(options)
    super(settings)
    this.#settings = settings
  }

  protected override connect(arrival: Arrival): ClientConnection {
    return new SocksConnection(arrival, this.#settings)
  }
}
