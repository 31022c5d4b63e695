// Package sshtest has an SSH server for tests. It runs no program: a handler answers each
// command.
package sshtest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// Handler answers a command, and returns its exit status.
type Handler func(command string, in io.Reader, out, errs io.Writer) int

// Server is a server on loopback. Its fields are read-only.
type Server struct {
	Host       string
	Port       int
	KeyFile    string // private key that may log in
	KnownHosts string // file with the server's key

	listener net.Listener
	config   *ssh.ServerConfig
	handler  Handler

	wg    sync.WaitGroup
	mu    sync.Mutex
	conns map[net.Conn]bool // nil when the server is closed
}

// Serve starts a server that ends with the test.
func Serve(t testing.TB, handler Handler) *Server {
	t.Helper()
	dir := t.TempDir()
	user, userFile := newKey(t, dir, "id")
	first, _ := newKey(t, dir, "host")
	s := &Server{KeyFile: userFile, KnownHosts: filepath.Join(dir, "known_hosts"), handler: handler, conns: make(map[net.Conn]bool)}
	s.config = &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(user.PublicKey().Marshal()) {
			return nil, errors.New("another key")
		}
		return &ssh.Permissions{}, nil
	}}
	s.config.AddHostKey(first)
	var err error
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(s.listener.Addr().String())
	if err == nil {
		s.Host = host
		s.Port, err = strconv.Atoi(port)
	}
	if err == nil {
		line := knownhosts.Line([]string{s.listener.Addr().String()}, first.PublicKey())
		err = os.WriteFile(s.KnownHosts, []byte(line+"\n"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.wg.Go(s.accept)
	t.Cleanup(s.Close)
	return s
}

// newKey makes a key, and writes it to a file.
func newKey(t testing.TB, dir, name string) (ssh.Signer, string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return signer, file
}

// Close ends the server and all connections. Twice does nothing.
func (s *Server) Close() {
	s.listener.Close()
	s.mu.Lock()
	for c := range s.conns {
		c.Close()
	}
	s.conns = nil
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *Server) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		open := s.conns != nil
		if open {
			s.conns[c] = true
			s.wg.Go(func() { s.serve(c) })
		}
		s.mu.Unlock()
		if !open {
			c.Close()
		}
	}
}

// serve serves one connection.
func (s *Server) serve(c net.Conn) {
	defer c.Close()
	conn, channels, requests, err := ssh.NewServerConn(c, s.config)
	if err != nil {
		return
	}
	defer conn.Close()
	s.wg.Go(func() { ssh.DiscardRequests(requests) })
	for ch := range channels {
		if ch.ChannelType() != "session" {
			_ = ch.Reject(ssh.UnknownChannelType, "only sessions") // the connection may have ended
			continue
		}
		channel, requests, err := ch.Accept()
		if err != nil {
			return
		}
		s.wg.Go(func() { s.session(channel, requests) })
	}
}

// session runs the one command of a session.
func (s *Server) session(ch ssh.Channel, requests <-chan *ssh.Request) {
	defer ch.Close()
	for r := range requests {
		if r.Type != "exec" {
			_ = r.Reply(false, nil) // the connection may have ended
			continue
		}
		var exec struct{ Command string }
		if err := ssh.Unmarshal(r.Payload, &exec); err != nil {
			return
		}
		_ = r.Reply(true, nil)
		status := s.handler(exec.Command, ch, ch, ch.Stderr())
		_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status)})) // nor is the exit status heard then
		return
	}
}
