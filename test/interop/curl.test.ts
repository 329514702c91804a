import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Result, run, startServe } from '../support/cli.js'
import { requireProgram } from '../support/programs.js'
import { refusedPort } from '../support/targets.js'
import { type LargeFile, largeFile, PAGE, sha256, startSite } from './site.js'

// CURLE_PROXY: what curl exits with when the proxy refuses.
const PROXY_ERROR = 97

describe('curl', () => {
  requireProgram('curl', 'curl')

  describe.each([
    ['socks5', '127.0.0.1', '127.0.0.1', '127.0.0.1:0'],
    ['socks5h', '127.0.0.1', 'localhost', '127.0.0.1:0'],
    ['socks5h', '127.0.0.1', '127.0.0.1', '[::1]:0'],
    ['socks5', '::1', '[::1]', '127.0.0.1:0'],
    ['socks5h', '::1', '[::1]', '[::1]:0'],
  ])('%s, site on %s asked for as %s, proxy on %s', (scheme, site, host, listen) => {
    it.each([false, true])('fetches a page (password: %s)', async (withPassword) => {
      const { port } = await startSite(site)
      const { address } = await startServe(withPassword ? ['--user', 'ann:secret'] : [], listen)
      const proxy = `${scheme}://${withPassword ? 'ann:secret@' : ''}${address}`
      const page = await curl(['--proxy', proxy, `http://${host}:${port}/`])
      expect(page).toMatchObject({ code: 0 })
      expect(page.stdout.toString()).toBe(PAGE)
    })
  })

  it('takes the options that name no scheme', async () => {
    const { port } = await startSite()
    const { address } = await startServe(['--user', 'ann:secret'])
    for (const option of ['--socks5', '--socks5-hostname']) {
      const page = await curl([option, address, '--proxy-user', 'ann:secret', `http://127.0.0.1:${port}/`])
      expect(page.stdout.toString()).toBe(PAGE)
    }
  })

  describe('64 MiB', () => {
    let directory: string
    let upload: string
    let file: LargeFile
    beforeAll(() => {
      file = largeFile(64)
      directory = mkdtempSync(join(tmpdir(), 'tubesock-'))
      upload = join(directory, 'upload')
      writeFileSync(upload, file.content)
    })
    afterAll(() => rmSync(directory, { recursive: true }))

    it.each([false, true])('arrive unchanged (password: %s)', async (withPassword) => {
      const { port } = await startSite('127.0.0.1', file.content)
      const { address } = await startServe(withPassword ? ['--user', 'ann:secret'] : [])
      const user = withPassword ? 'ann:secret@' : ''
      const { code, stdout } = await curl(['--proxy', `socks5h://${user}${address}`, `http://127.0.0.1:${port}/file`])
      expect({ code, length: stdout.length, digest: sha256(stdout) }).toEqual({
        code: 0,
        length: file.content.length,
        digest: file.digest,
      })
    })

    it('are uploaded unchanged', async () => {
      const { port } = await startSite()
      const { address } = await startServe()
      const put = await curl(['--proxy', `socks5h://${address}`, '-T', upload, `http://127.0.0.1:${port}/file`])
      expect({ code: put.code, digest: put.stdout.toString() }).toEqual({ code: 0, digest: file.digest })
    })
  })

  it('S22 a wrong password is rejected by the proxy', async () => {
    const { port } = await startSite()
    const { address } = await startServe(['--user', 'ann:secret'])
    for (const user of ['ann:wrong', 'eve:secret', 'ann:']) {
      const { code, stderr } = await curl([
        '-v',
        '--proxy',
        `socks5h://${user}@${address}`,
        `http://127.0.0.1:${port}/`,
      ])
      expect(code).toBe(PROXY_ERROR)
      // Version and status of the sub-negotiation.
      expect(stderr).toContain('(1 1)')
    }
  })

  it('S2 a client without a password finds no method', async () => {
    const { address } = await startServe(['--user', 'ann:secret'])
    const { code, stderr } = await curl(['-v', '--proxy', `socks5h://${address}`, 'http://127.0.0.1/'])
    expect(code).toBe(PROXY_ERROR)
    expect(stderr).toMatch(/no authentication method/i)
  })

  it('S71 a port where nobody listens is told as reply 05', async () => {
    const { address } = await startServe()
    expect(await replyTo(address, `127.0.0.1:${await refusedPort()}`)).toBe(5)
  })

  it('S73 a name that nobody has is told as reply 04', async () => {
    const { address } = await startServe()
    expect(await replyTo(address, 'nope.invalid')).toBe(4)
  })

  it('S45 an address that a rule refuses is told as reply 02, by whatever name', async () => {
    const { address } = await startServe(['--egress', 'public'])
    for (const host of ['127.0.0.1', '[::1]', 'localhost']) expect(await replyTo(address, host)).toBe(2)
  })
})

/** The reply code that curl tells of. */
async function replyTo(proxy: string, target: string): Promise<number> {
  const { code, stderr } = await curl(['-v', '--proxy', `socks5h://${proxy}`, `http://${target}/`])
  expect(code).toBe(PROXY_ERROR)
  return Number(/complete SOCKS5 connection to .* \((\d+)\)/.exec(stderr)?.[1])
}

/** Without the user's own configuration, silent but for errors, and never for longer than the test. */
function curl(args: readonly string[]): Promise<Result> {
  return run('curl', ['-q', '-sS', '--max-time', '25', ...args])
}
