import { once } from 'node:events'
import { createServer } from 'node:http'
import { describe, expect, it } from 'vitest'
import { type RequestInfo, userPass } from '../../src/server/index.js'
import { PASSWORD, USER } from '../client/hygiene.js'
import { plainEnvironment, run, startServe } from '../support/cli.js'
import { requireProgram } from '../support/programs.js'
import { cleanup, startServer } from '../support/servers.js'
import { note, proxyUrl } from './cases.js'
import { testDirectory } from './peers.js'

const LOOPBACK: ReadonlySet<string> = new Set(['localhost', '127.0.0.1', '::1'])

describe('Chromium', () => {
  const chromium = requireProgram('chromium', 'chromium')

  it('shows a page through serve --upstream in front of a server with a password, which it cannot do itself', async () => {
    const site = await startPage()
    const requests: RequestInfo[] = []
    const lookedUp: string[] = []
    const { server, port } = await startServer({
      auth: userPass((username, password) => username === USER && password === PASSWORD && { username, plan: 'pro' }),
      // Before DNS: the browser's own services ask for names of the internet, too.
      authorize: ({ host }) => LOOPBACK.has(host),
      lookup: (host, _options, callback) => {
        lookedUp.push(host)
        callback(null, [{ address: '127.0.0.1', family: 4 }])
      },
    })
    server.on('established', (info) => requests.push(info))
    const bridge = await startServe(['--upstream', proxyUrl(port, `${USER}:${PASSWORD}`)])

    const { code, stdout } = await dump(bridge.port, `http://localhost:${site.port}/`)

    expect(code).toBe(0)
    const dom = stdout.toString()
    expect(dom).toContain('<p>a page through SOCKS</p>')
    // A second request, for the script of the page.
    expect(dom).toContain(`<p>and its script, from localhost:${site.port}</p>`)
    expect(site.paths).toEqual(expect.arrayContaining(['/', '/script.js']))
    expect(requests.length).toBeGreaterThan(0)
    for (const { identity, destination } of requests) {
      expect(identity).toEqual({ username: USER, plan: 'pro' })
      expect(destination).toMatchObject({ type: 'domain', host: 'localhost', port: site.port })
    }
    expect(new Set(lookedUp)).toEqual(new Set(['localhost']))
    note(
      'Chromium, serve --upstream, userPass',
      'by name',
      `page in the DOM, identity ${requests[0]?.identity.username}`,
    )
  })

  function dump(proxyPort: number, url: string) {
    const directory = testDirectory()
    const options = [
      '--headless=new',
      // It refuses to run as root otherwise.
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--disable-dev-shm-usage',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--no-first-run',
      `--user-data-dir=${directory}`,
      `--proxy-server=socks5://127.0.0.1:${proxyPort}`,
      // It would go to loopback without the proxy.
      '--proxy-bypass-list=<-loopback>',
      '--dump-dom',
    ]
    return run(chromium, [...options, url], { env: { ...plainEnvironment(), HOME: directory }, ownGroup: true })
  }
})

/** A page that a script completes. */
async function startPage(): Promise<{ readonly port: number; readonly paths: readonly string[] }> {
  const paths: string[] = []
  const server = createServer((request, response) => {
    paths.push(request.url ?? '')
    if (request.url === '/script.js') {
      response.setHeader('content-type', 'text/javascript')
      response.end(`document.body.insertAdjacentHTML('beforeend', '<p>and its script, from ' + location.host + '</p>')`)
    } else {
      response.setHeader('content-type', 'text/html')
      response.end('<!doctype html><title>page</title><p>a page through SOCKS</p><script src="/script.js"></script>')
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  cleanup(() => {
    server.closeAllConnections()
    server.close()
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return { port: address.port, paths }
}
