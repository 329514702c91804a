// Garbage from every side of a relay, in any volume. Runs by itself (`npm run soak`), and a slice of it among the tests. Nothing
// leaves loopback: whatever is asked for, `decide` answers with its addresses.

import { setTimeout as pause, setImmediate as turn } from 'node:timers/promises'
import { type Decide, openUdpRelay, type UdpRelayOptions, type UdpTarget } from '../../src/udp/index.js'
import { Peer } from '../udp/peer.js'
import { Dice, descriptors, headed, untilEqual, works } from './datagrams.js'

/** Every way in which an application may answer. */
function whim(dice: Dice): Decide {
  return ({ host }) => {
    if (host === '127.0.0.1') return { type: 'ipv4', host }
    switch (dice.roll(9)) {
      case 0:
        throw new Error('whim')
      case 1:
        return Promise.reject(new Error('whim'))
      case 2:
        return new Promise(() => {})
      case 3:
        return undefined
      case 4:
        // What an application in JavaScript may return.
        return 'nonsense' as unknown as UdpTarget
      case 5:
        return pause(dice.roll(5), { type: 'ipv4', host: '127.0.0.1' } as const)
      case 6:
        return { type: 'ipv6', host: '::1' }
      default:
        return { type: 'ipv4', host: dice.of('127.0.0.1', '127.0.0.2', '0.0.0.0', '224.0.0.1', '255.255.255.255') }
    }
  }
}

function options(dice: Dice): UdpRelayOptions {
  return {
    bind: { host: '127.0.0.1' },
    client: { address: '127.0.0.1' },
    decide: whim(dice),
    reassemble: dice.of(true, false),
    nat: dice.of('restricted', 'full-cone'),
    replyAddress: dice.of('source', 'request'),
    maxMappings: dice.of(2, 100, 1_024),
    idleTimeoutMs: dice.of(5, 1_000, 0),
    decisionTtlMs: dice.of(1, 0, 60_000),
    decisionTimeoutMs: 20,
  }
}

/** `runs` datagrams of garbage to a relay and to its way out, a new relay for every thousand. Throws when one stops working. */
export async function soakUdpRelay({
  runs,
  seed,
}: {
  runs: number
  seed: number
}): Promise<{ relayed: number; dropped: Record<string, number> }> {
  const before = descriptors()
  const dropped: Record<string, number> = {}
  let relayed = 0
  for (let done = 0; done < runs; done += 1_000) {
    const dice = new Dice(seed + done)
    const relay = await openUdpRelay(options(dice))
    const [client, stranger] = [await Peer.open(), await Peer.open('127.0.0.2')]
    const [echo, silent] = [await Peer.echo(), await Peer.open()]
    await works(relay.address, client, echo, 'first')
    const { from } = await echo.next()
    for (let count = 0; count < Math.min(runs - done, 1_000); count++) {
      const data = headed(dice, dice.of(echo.address, silent.address))
      const to = dice.of(relay.address, relay.address, relay.address, { host: '127.0.0.1', port: from.port })
      await dice.of(client, client, client, client, client, client, stranger, silent).send(data, to)
      // Lest the system drops what the relay should see.
      if (data.length > 1_000 || count % 8 === 0) await turn()
      if (count % 50 === 49) await works(relay.address, client, echo, `sentinel ${count}`)
    }
    relayed += relay.stats().datagramsUp
    for (const [reason, drops] of Object.entries(relay.stats().dropped))
      dropped[reason] = (dropped[reason] ?? 0) + drops
    relay.close()
    for (const peer of [client, stranger, echo, silent]) peer.close()
    await untilEqual(descriptors, before)
  }
  return { relayed, dropped }
}
