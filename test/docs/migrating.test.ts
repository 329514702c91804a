import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { createSocksServer, userPass } from '../../src/server/index.js'
import { run } from '../support/cli.js'
import { cleanup } from '../support/servers.js'
import { codeBlocks } from './blocks.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const text = readFileSync(join(ROOT, 'docs', 'migrating.md'), 'utf8')
const blocks = codeBlocks(text)

describe('docs/migrating.md', () => {
  it('has a snippet of ours after each one of another package, and every one of ours is run', () => {
    const kinds = blocks.map(({ language }) => language)
    // `javascript`: of another package, not run. `js`: ours, run with those of all documents. `mjs`: ours, run here.
    const before = kinds.flatMap((kind, index) => (kind === 'javascript' ? [index] : []))
    expect(before.length).toBeGreaterThan(8)
    for (const index of before) expect(['js', 'mjs']).toContain(kinds[index + 1])
    for (const { language, code, how } of blocks) {
      expect(['js', 'mjs', 'javascript', 'json']).toContain(language)
      expect(how).not.toBe('skip')
      if (language === 'js' || language === 'mjs') expect(code).toContain("from 'tubesock'")
      if (language === 'javascript') expect(code).not.toContain('tubesock')
    }
  })

  it('names the packages and versions that it speaks of', () => {
    for (const name of [
      'socks` 2.8.10',
      'socks-proxy-agent` 10.1.0',
      'fetch-socks` 1.3.3',
      'simple-socks` 3.6.0',
      'socksv5` 0.0.6',
    ]) {
      expect(text).toContain(name)
    }
  })

  it('fetch, with an undici of the application', async () => {
    const page = createServer((request, response) => response.end(`you asked for ${request.url}\n`))
    await new Promise<void>((resolve) => page.listen(0, '127.0.0.1', resolve))
    cleanup(() => page.close())
    const address = page.address()
    const server = createSocksServer({ auth: userPass({ alice: 'wonderland' }) })
    const { port } = await server.listen(0)
    cleanup(() => server.close({ graceMs: 0 }))

    const folder = mkdtempSync(join(tmpdir(), 'tubesock-migrating-'))
    cleanup(() => rmSync(folder, { recursive: true, force: true }))
    mkdirSync(join(folder, 'node_modules'))
    symlinkSync(ROOT, join(folder, 'node_modules', 'tubesock'))
    symlinkSync(join(ROOT, 'node_modules', 'undici7'), join(folder, 'node_modules', 'undici'))
    for (const { code } of blocks.filter(({ language }) => language === 'mjs')) {
      const here = code
        .replaceAll('1081', String(port))
        .replaceAll('8080', String(typeof address === 'object' && address?.port))
      writeFileSync(join(folder, 'block.mjs'), here)
      const { code: status, stdout, stderr } = await run(process.execPath, ['block.mjs'], { cwd: folder })
      expect(status, stderr).toBe(0)
      expect(String(stdout)).toContain('you asked for /fetched')
    }
  })
})
