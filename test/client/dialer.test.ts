import { once } from 'node:events'
import { createServer } from 'node:net'
import { describe, expect, it } from 'vitest'
import { SocksClient } from '../../src/client/client.js'
import { type Peer, withProxy, withRealProxies } from '../support/scripted-proxy.js'
import { failure, PASSWORD, rejection, USER } from './hygiene.js'

const request = { host: 'example.com', port: 443 }

function answering(reply: string): (peer: Peer) => Promise<void> {
  return async (peer) => {
    await peer.greet()
    await peer.readRequest()
    peer.send(reply)
  }
}

describe('what becomes of a failure', () => {
  it.each([1, 2, 3, 4, 5, 6, 7, 8, 9, 0xf4, 0xff])('reply code %s of the last proxy is passed on', async (code) => {
    await withProxy(answering(`05 ${code.toString(16).padStart(2, '0')}`), async (proxy) => {
      const error = await rejection(new SocksClient({ proxy: proxy.url() }).dialer()(request))
      expect(error).toMatchObject({ name: 'SocksError', replyCode: code })
    })
  })

  it('a proxy that cannot be reached, or does not let us in, is a general failure', async () => {
    const scripts: ((peer: Peer) => Promise<void> | void)[] = [
      (peer) => peer.send('05 ff'),
      (peer) => peer.end(),
      (peer) => peer.send(Buffer.from('HTTP/1.0 400')),
      answering('05 00 00 09'),
      async (peer) => {
        await peer.greet(2)
        await peer.readCredentials()
        peer.send('01 05')
      },
    ]
    for (const script of scripts) {
      await withProxy(script, async (proxy) => {
        const dial = new SocksClient({ proxy: proxy.url(`${USER}:${PASSWORD}`) }).dialer()
        expect(await rejection(dial(request))).toMatchObject({ name: 'SocksError', replyCode: 1, hop: 0 })
      })
    }
    const unreachable = new SocksClient({ proxy: `socks5h://${USER}:${PASSWORD}@127.0.0.1:1` }).dialer()
    expect(await failure(unreachable(request), 'ERR_SOCKS_PROXY_UNREACHABLE')).toMatchObject({ replyCode: 1 })
  })

  it('a first proxy that cannot reach the second is a general failure, whatever it answers', async () => {
    await withProxy(answering('05 05'), async (proxy) => {
      const dial = new SocksClient({ proxy: [proxy.url(), 'socks5h://second.example'] }).dialer()
      expect(await failure(dial(request), 'ERR_SOCKS_CONNECTION_REFUSED')).toMatchObject({ replyCode: 1, hop: 0 })
    })
  })

  it('C72 a target that does not answer in time is 06, a proxy that does not is 01', async () => {
    for (const [script, replyCode] of [
      [async (peer: Peer): Promise<void> => void (await peer.greet()), 6],
      [(): void => {}, 1],
    ] as const) {
      await withProxy(script, async (proxy) => {
        const dial = new SocksClient({ proxy: proxy.url(), timeoutMs: 100 }).dialer()
        expect(await failure(dial(request), 'ERR_SOCKS_TIMEOUT')).toMatchObject({ replyCode })
      })
    }
  })

  it('an abort of the request ends it with the reason of the signal', async () => {
    const aborter = new AbortController()
    const script = async (peer: Peer): Promise<void> => {
      await peer.greet()
      await peer.readRequest()
      aborter.abort(new Error('the client left'))
    }
    await withProxy(script, async (proxy) => {
      const dial = new SocksClient({ proxy: proxy.url() }).dialer()
      expect(await rejection(dial({ ...request, signal: aborter.signal }))).toMatchObject({
        message: 'the client left',
      })
      await proxy.peers[0]?.closed
    })
  })
})

it('names stay unresolved, unless the server has looked them up and judged them', async () => {
  const echo = createServer((socket) => socket.pipe(socket)).listen(0, '127.0.0.1')
  await once(echo, 'listening')
  const address = echo.address()
  const port = address !== null && typeof address === 'object' ? address.port : 0
  await withRealProxies(1, async ([only]) => {
    const dial = new SocksClient({ proxy: only?.proxy.url() ?? '' }).dialer()
    for (const addresses of [undefined, ['192.0.2.1', '192.0.2.2']]) {
      const { stream, bound } = await dial({ host: 'example.com', port, addresses })
      expect(bound).toEqual({ type: 'ipv4', host: '127.0.0.1', port: 4660 })
      stream.destroy()
    }
    expect(only?.requests.map((bytes) => bytes.subarray(3, 8).toString('hex'))).toEqual(['030b657861', '01c0000201'])
  })
  echo.close()
})

it('a BND that is a name is not passed on: it may hold any byte', async () => {
  await withProxy(answering('05 00 00 03 00 12 34'), async (proxy) => {
    const { stream, bound } = await new SocksClient({ proxy: proxy.url() }).dialer()(request)
    expect(bound).toEqual({ type: 'ipv4', host: '0.0.0.0', port: 0 })
    stream.destroy()
  })
})
