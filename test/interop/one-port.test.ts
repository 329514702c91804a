import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import type { EstablishedInfo, ServerOptions } from '../../src/server/index.js'
import { type Result, run } from '../support/cli.js'
import { createHttpDoor } from '../support/http-door.js'
import { requireProgram } from '../support/programs.js'
import { type Fixture, startServer } from '../support/servers.js'
import { refusedPort } from '../support/targets.js'
import { type LargeFile, largeFile, PAGE, sha256, startSite } from './site.js'

// CURLE_PROXY: what curl exits with when the proxy refuses.
const PROXY_ERROR = 97

/** What curl is told of the one port, and the host by which it asks for the site. */
const WAYS: readonly (readonly [name: string, host: string, ...args: string[]])[] = [
  ['socks4', '127.0.0.1', '--proxy', 'socks4://PROXY'],
  ['socks4a', 'localhost', '--proxy', 'socks4a://PROXY'],
  ['socks4a', '127.0.0.1', '--proxy', 'socks4a://PROXY'],
  ['socks5', '127.0.0.1', '--proxy', 'socks5://PROXY'],
  ['socks5h', 'localhost', '--proxy', 'socks5h://PROXY'],
  ['HTTP', '127.0.0.1', '--proxy', 'http://PROXY'],
  ['HTTP', 'localhost', '--proxy', 'http://PROXY'],
  ['HTTP CONNECT', 'localhost', '--proxytunnel', '--proxy', 'http://PROXY'],
]

describe('curl, whatever it speaks, on one port of one server', () => {
  requireProgram('curl', 'curl')
  let directory: string
  let upload: string
  let file: LargeFile
  beforeAll(() => {
    file = largeFile(8)
    directory = mkdtempSync(join(tmpdir(), 'tubesock-'))
    upload = join(directory, 'upload')
    writeFileSync(upload, file.content)
  })
  afterAll(() => rmSync(directory, { recursive: true }))

  async function startOnePort(options: ServerOptions = {}): Promise<Fixture & { established: EstablishedInfo[] }> {
    const door = createHttpDoor(() => fixture.server.outbound)
    const fixture = await startServer({ socks4: true, fallback: door.fallback, ...options })
    const established: EstablishedInfo[] = []
    fixture.server.on('established', (info) => established.push(info))
    return { ...fixture, established }
  }

  it('S12 S126 S127 all of them at once fetch a page and 8 MiB, and upload 8 MiB, unchanged', async () => {
    const site = await startSite('127.0.0.1', file.content)
    const { server, port, errors, established } = await startOnePort()
    await Promise.all(
      WAYS.map(async ([name, host, ...args]) => {
        const way = args.map((arg) => arg.replace('PROXY', `127.0.0.1:${port}`))
        const url = `http://${host}:${site.port}/`
        const page = await curl([...way, url])
        expect([page.code, String(page.stdout)], `${name} ${page.stderr}`).toEqual([0, PAGE])
        const download = await curl([...way, `${url}file`])
        expect([download.code, sha256(download.stdout)], name).toEqual([0, file.digest])
        const put = await curl([...way, '-T', upload, `${url}file`])
        expect([put.code, String(put.stdout)], name).toEqual([0, file.digest])
      }),
    )
    expect(errors).toEqual([])
    // The HTTP server's clients are its own: SOCKS alone is told here.
    expect(established).toHaveLength(5 * 3)
    const wanted = { connections: 0, accepted: WAYS.length * 3, failed: 0 }
    await vi.waitFor(() => expect(server.stats()).toMatchObject(wanted), 10_000)
  })

  it('S12 without a proxy, the port answers as the HTTP server that it is, too', async () => {
    const { port } = await startOnePort()
    const { code, stdout } = await curl([`http://127.0.0.1:${port}/own`])
    expect([code, String(stdout)]).toEqual([0, expect.stringMatching(/^GET \/own /)])
  })

  it('S126 a refusal is told in the words of each', async () => {
    const target = `http://127.0.0.1:${await refusedPort()}/`
    const { port } = await startOnePort()
    for (const [scheme, told] of [
      ['socks4', /\(91\)/],
      ['socks4a', /\(91\)/],
      ['socks5', /\(5\)/],
      ['socks5h', /\(5\)/],
    ] as const) {
      const { code, stderr } = await curl(['-v', '--proxy', `${scheme}://127.0.0.1:${port}`, target])
      expect([code, told.test(stderr)], stderr).toEqual([PROXY_ERROR, true])
    }
    const status = ['-o', '/dev/null', '-w', '%{http_code} %{http_connect}', '--proxy', `http://127.0.0.1:${port}`]
    expect(String((await curl([...status, target])).stdout)).toBe('502 000')
    expect(String((await curl([...status, '--proxytunnel', target])).stdout)).toBe('000 502')
  })

  it('S130 the USERID that curl sends is judged where a function does', async () => {
    const site = await startSite()
    const url = `http://127.0.0.1:${site.port}/`
    const judging = await startOnePort({ socks4: (userId) => userId === 'ann' })
    for (const scheme of ['socks4', 'socks4a']) {
      const ann = await curl(['--proxy', `${scheme}://ann@127.0.0.1:${judging.port}`, url])
      expect(String(ann.stdout)).toBe(PAGE)
      const eve = await curl(['--proxy', `${scheme}://eve@127.0.0.1:${judging.port}`, url])
      expect(eve.code).toBe(PROXY_ERROR)
    }
    expect(judging.established.map(({ identity }) => identity)).toEqual([{ username: 'ann' }, { username: 'ann' }])
  })

  it('S128 a USERID of 255 bytes is served', async () => {
    const site = await startSite()
    const { port } = await startOnePort()
    const { stdout } = await curl([
      '--proxy',
      `socks4a://${'u'.repeat(255)}@127.0.0.1:${port}`,
      `http://localhost:${site.port}/`,
    ])
    expect(String(stdout)).toBe(PAGE)
  })
})

/** Without the user's own configuration, silent but for errors, and never for longer than the test. */
function curl(args: readonly string[]): Promise<Result> {
  return run('curl', ['-q', '-sS', '--max-time', '25', ...args])
}
