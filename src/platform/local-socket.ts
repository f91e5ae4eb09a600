import * as fs from 'node:fs'
import * as net from 'node:net'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import { crc32 } from '../base/crc32.js'

/**
 * A socket that processes of this machine, and of this user, can reach by the name of a directory. Lines of text go both ways.
 *
 * It lies in the directory itself, where only those may connect who may read the database; where that path is longer than sockets' names may
 * be, in the directory for temporary files, under a name made from it.
 */
export interface LineConnection {
  send(line: string): void
  /** The other side's lines, to the end of the connection. */
  lines(): AsyncIterable<string>
  close(): void
}

/** Calls back for each connection. Errors of the operating system are passed on. The server does not keep the process alive. */
export async function serveLines(directory: string, accept: (connection: LineConnection) => void): Promise<{ close(): Promise<void> }> {
  const name = socketName(directory)
  const connections = new Set<net.Socket>()
  const server = net.createServer((socket) => {
    connections.add(socket)
    socket.on('close', () => connections.delete(socket))
    // Whoever asked has gone: nobody is left to be told.
    socket.on('error', () => {})
    socket.unref()
    accept(overSocket(socket))
  })
  // The directory's lock is ours: a socket that is there is left over.
  if (process.platform !== 'win32') fs.rmSync(name, { force: true })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(name, resolve)
  })
  server.unref()
  if (process.platform !== 'win32') fs.chmodSync(name, 0o600)
  return {
    close: () =>
      new Promise((resolve) => {
        for (const socket of connections) socket.destroy()
        server.close(() => resolve())
      }),
  }
}

/** Raises ENOENT or ECONNREFUSED if nobody serves there. */
export async function connectLines(directory: string): Promise<LineConnection> {
  const socket = net.connect(socketName(directory))
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', reject)
  })
  socket.on('error', () => {})
  return overSocket(socket)
}

function overSocket(socket: net.Socket): LineConnection {
  socket.setEncoding('utf8')
  return {
    send: (line) => void socket.write(`${line}\n`),
    close: () => socket.end(),
    async *lines() {
      let rest = ''
      for await (const chunk of socket) {
        const parts = (rest + String(chunk)).split('\n')
        rest = parts.pop() ?? ''
        yield* parts
        if (rest.length > LONGEST_LINE) return
      }
    },
  }
}

function socketName(directory: string): string {
  const real = fs.realpathSync(directory)
  const bytes = Buffer.from(real)
  const hash = crc32(bytes, 0, bytes.length, 0).toString(16)
  if (process.platform === 'win32') return `\\\\.\\pipe\\nextkey-${hash}`
  const inside = path.join(real, SOCKET_NAME)
  return Buffer.byteLength(inside) <= LONGEST_NAME ? inside : path.join(tmpdir(), `nextkey-${hash}.sock`)
}

export const SOCKET_NAME = 'nextkey.sock'
/** What every system can do. */
const LONGEST_NAME = 103
const LONGEST_LINE = 16 * 2 ** 20
