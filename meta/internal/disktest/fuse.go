//go:build linux

package disktest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// The part of the FUSE protocol, version 7.31, that a folder with one file
// needs; the numbers are those of the kernel's include/uapi/linux/fuse.h.
const (
	fileName = "disk"
	rootNode = 1
	fileNode = 2

	opLookup      = 1
	opForget      = 2
	opGetattr     = 3
	opSetattr     = 4
	opOpen        = 14
	opRead        = 15
	opWrite       = 16
	opStatfs      = 17
	opRelease     = 18
	opFsync       = 20
	opFlush       = 25
	opInit        = 26
	opInterrupt   = 36
	opDestroy     = 38
	opBatchForget = 42

	inHeader = 40
	maxWrite = 128 << 10
	forever  = 1 << 30 // seconds for which the kernel may keep what it was told
)

// serve mounts the folder and answers the kernel until it is unmounted or this
// process, which is there for nothing else, ends.
func serve(dir string, m *medium) error {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Mount("edgekit-disktest", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)); err != nil {
		unix.Close(fd)
		return err
	}
	go func() {
		defer unix.Close(fd)
		buf := make([]byte, maxWrite+4096)
		for {
			n, err := unix.Read(fd, buf)
			switch {
			case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOENT):
				continue
			case err != nil, n < inHeader:
				return // ENODEV: unmounted
			}
			if answer := m.answer(buf[:n]); answer != nil {
				_, _ = unix.Write(fd, answer) // ENOENT: the asker has gone
			}
		}
	}()
	return nil
}

// answer does what one request asks, and gives the reply, nil for none.
func (m *medium) answer(in []byte) []byte {
	opcode, node, body := binary.NativeEndian.Uint32(in[4:]), binary.NativeEndian.Uint64(in[16:]), in[inHeader:]
	var out []byte
	errno := syscall.Errno(0)
	switch opcode {
	case opForget, opBatchForget, opInterrupt:
		return nil
	case opInit:
		out = initOut(body)
	case opLookup:
		if node != rootNode || string(body) != fileName+"\x00" {
			errno = syscall.ENOENT
			break
		}
		out = words64(nil, fileNode, 0, forever, forever)
		out = append(words32(out, 0, 0), m.attributes(fileNode)...)
	case opGetattr, opSetattr:
		out = append(words32(words64(nil, forever), 0, 0), m.attributes(node)...)
	case opOpen:
		out = words32(words64(nil, 0), 0, 0)
	case opRead:
		out, errno = m.read(int64(binary.NativeEndian.Uint64(body[8:])), int(binary.NativeEndian.Uint32(body[16:])))
	case opWrite:
		size := binary.NativeEndian.Uint32(body[16:])
		if errno = m.write(int64(binary.NativeEndian.Uint64(body[8:])), body[40:40+size]); errno == 0 {
			out = words32(nil, size, 0)
		}
	case opFsync:
		errno = m.flush()
	case opStatfs:
		out = make([]byte, 80)
	case opFlush, opRelease, opDestroy:
	default:
		errno = syscall.ENOSYS
	}
	if errno != 0 {
		out = nil
	}
	reply := words32(nil, uint32(16+len(out)), uint32(-int32(errno)))
	reply = append(reply, in[8:16]...) // which request it answers
	return append(reply, out...)
}

func initOut(in []byte) []byte {
	const bigWrites, maxPages = 1 << 5, 1 << 22
	readahead := binary.NativeEndian.Uint32(in[8:])
	out := words32(nil, 7, 31, readahead, bigWrites|maxPages)
	out = words32(out, 0, maxWrite, 1)                                             // no background limits of its own, largest write, 1 ns
	out = binary.NativeEndian.AppendUint16(out, uint16(maxWrite/os.Getpagesize())) // pages in a request
	return append(out, make([]byte, 64-len(out))...)
}

// attributes returns a struct fuse_attr.
func (m *medium) attributes(node uint64) []byte {
	mode, size := uint32(syscall.S_IFDIR|0o700), uint64(0)
	if node == fileNode {
		mode, size = syscall.S_IFREG|0o600, m.size()
	}
	out := words64(nil, node, size, size/sector, 0, 0, 0)
	return words32(out, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)
}

func words64(b []byte, words ...uint64) []byte {
	for _, w := range words {
		b = binary.NativeEndian.AppendUint64(b, w)
	}
	return b
}

func words32(b []byte, words ...uint32) []byte {
	for _, w := range words {
		b = binary.NativeEndian.AppendUint32(b, w)
	}
	return b
}
