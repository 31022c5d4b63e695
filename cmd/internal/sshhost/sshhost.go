// Package sshhost runs fixed commands on other machines over SSH. The key of a machine must be
// in a known_hosts file; there is no way to accept any. A Command is a constant of the program:
// data goes to its standard input and is never part of what the other machine's shell reads.
//
//	client, err := sshhost.Dial(ctx, sshhost.Config{Address: "192.0.2.7", User: "root", KeyFile: "/root/.ssh/id_ed25519"})
//	...
//	defer client.Close()
//	err = client.Run(ctx, "cat > /etc/motd", strings.NewReader(text), io.Discard)
package sshhost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"
)

// Config says how a machine is reached. Address and User are required.
type Config struct {
	Address    string // name or address
	Port       int    // 0 means 22
	User       string
	KeyFile    string        // private key; "" means the keys of the agent alone
	Agent      string        // socket of an SSH agent; "" means none
	KnownHosts string        // file with the keys of machines; "" means ~/.ssh/known_hosts
	Timeout    time.Duration // of the connection and the login; 0 means 30 s
}

// Command is what the other machine's shell runs. It must be a constant.
type Command string

// Client is a connection to a machine. It may be used by several goroutines.
type Client struct {
	conn  *ssh.Client
	agent net.Conn // nil without one
}

// HostKeyError says that a machine's key is not known, or not the one that is.
type HostKeyError struct {
	Host        string
	Fingerprint string // of the key that it has shown
	File        string // the known_hosts file
	Changed     bool   // the file has another key for the machine
}

func (e *HostKeyError) Error() string {
	if e.Changed {
		return fmt.Sprintf("sshhost: %s shows another key (%s) than %s has: somebody may be in between; if the machine was set up again, remove its old key (ssh-keygen -R)", e.Host, e.Fingerprint, e.File)
	}
	return fmt.Sprintf("sshhost: the key of %s (%s) is not in %s: compare the fingerprint at the machine, then ssh-keyscan it into the file", e.Host, e.Fingerprint, e.File)
}

// Dial connects and logs in.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	if cfg.Port == 0 {
		cfg.Port = 22
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.KnownHosts == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, fmt.Errorf("sshhost: %w: name a known_hosts file", err)
		}
		cfg.KnownHosts = filepath.Join(home, ".ssh", "known_hosts")
	}
	address := net.JoinHostPort(cfg.Address, strconv.Itoa(cfg.Port))
	check, algorithms, err := hostKeys(cfg.KnownHosts, address)
	if err != nil {
		return nil, err
	}
	c := &Client{}
	methods, err := c.methods(ctx, cfg)
	if err == nil {
		err = c.dial(ctx, address, &ssh.ClientConfig{
			User: cfg.User, Auth: methods, HostKeyCallback: check, HostKeyAlgorithms: algorithms, Timeout: cfg.Timeout,
		})
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// dial connects; ctx ends a handshake that takes too long.
func (c *Client) dial(ctx context.Context, address string, cfg *ssh.ClientConfig) error {
	conn, err := (&net.Dialer{Timeout: cfg.Timeout}).DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("sshhost: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := conn.SetDeadline(time.Now().Add(cfg.Timeout)); err != nil {
		conn.Close()
		return fmt.Errorf("sshhost: %w", err)
	}
	secure, channels, requests, err := ssh.NewClientConn(conn, address, cfg)
	if err != nil {
		conn.Close()
		if key, ok := errors.AsType[*HostKeyError](err); ok {
			return key
		}
		return fmt.Errorf("sshhost: %s: %w", address, err)
	}
	c.conn = ssh.NewClient(secure, channels, requests)
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("sshhost: %w", err)
	}
	return nil
}

// methods are the ways to log in: by keys, never by a password.
func (c *Client) methods(ctx context.Context, cfg Config) ([]ssh.AuthMethod, error) {
	var signers []ssh.Signer
	if cfg.KeyFile != "" {
		text, err := os.ReadFile(cfg.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("sshhost: %w", err)
		}
		key, err := ssh.ParsePrivateKey(text)
		var locked *ssh.PassphraseMissingError
		switch {
		case errors.As(err, &locked) && cfg.Agent == "":
			return nil, fmt.Errorf("sshhost: %s has a passphrase: add it to an agent (ssh-add)", cfg.KeyFile)
		case errors.As(err, &locked): // the agent may have it
		case err != nil:
			return nil, fmt.Errorf("sshhost: %s: %w", cfg.KeyFile, err)
		default:
			signers = append(signers, key)
		}
	}
	if cfg.Agent != "" {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", cfg.Agent)
		if err != nil {
			return nil, fmt.Errorf("sshhost: the SSH agent: %w", err)
		}
		c.agent = conn
		if err := conn.SetDeadline(time.Now().Add(cfg.Timeout)); err != nil { // it is of use for the login alone
			return nil, fmt.Errorf("sshhost: the SSH agent: %w", err)
		}
		keys, err := agent.NewClient(conn).Signers()
		if err != nil {
			return nil, fmt.Errorf("sshhost: the SSH agent: %w", err)
		}
		signers = append(signers, keys...)
	}
	if len(signers) == 0 {
		return nil, errors.New("sshhost: there is no key to log in with: name a key file, or start an SSH agent")
	}
	return []ssh.AuthMethod{ssh.PublicKeys(signers...)}, nil
}

// hostKeys makes the check of a machine's key, and lists the kinds of keys that the file has
// for it: a machine with several then shows one that is known.
func hostKeys(file, address string) (ssh.HostKeyCallback, []string, error) {
	known, err := knownhosts.New(file)
	if errors.Is(err, fs.ErrNotExist) {
		known, err = func(string, net.Addr, ssh.PublicKey) error { return &knownhosts.KeyError{} }, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("sshhost: %s: %w", file, err)
	}
	check := func(host string, remote net.Addr, key ssh.PublicKey) error {
		err := known(host, remote, key)
		var wrong *knownhosts.KeyError
		if errors.As(err, &wrong) {
			return &HostKeyError{Host: host, Fingerprint: ssh.FingerprintSHA256(key), File: file, Changed: len(wrong.Want) > 0}
		}
		return err
	}
	var wanted *knownhosts.KeyError
	var algorithms []string
	if errors.As(known(address, &net.TCPAddr{}, noKey{}), &wanted) {
		for _, k := range wanted.Want {
			if kind := k.Key.Type(); kind == ssh.KeyAlgoRSA {
				algorithms = append(algorithms, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
			} else {
				algorithms = append(algorithms, kind)
			}
		}
	}
	return check, algorithms, nil
}

// noKey is a key that no machine has: the known keys are listed by asking for it.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return []byte("none") }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

// ExitError says that a command has failed.
type ExitError struct {
	Status int    // its exit status; 127 where a shell has not found the program
	Stderr string // the end of what it has written to its standard error
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("sshhost: exit status %d: %s", e.Status, strings.TrimSpace(e.Stderr))
}

// maxStderr bounds how much of a command's standard error is kept, in bytes.
const maxStderr = 8 << 10

// Run runs a command with the input, and copies its output to out, until it ends. A command
// that fails is an *ExitError. The end of ctx ends the connection, and so does an error of out.
func (c *Client) Run(ctx context.Context, command Command, in io.Reader, out io.Writer) error {
	session, err := c.conn.NewSession()
	if err != nil {
		return fmt.Errorf("sshhost: %w", err)
	}
	defer session.Close()
	stop := context.AfterFunc(ctx, func() { c.conn.Close() })
	defer stop()
	tail, stdout := &tailBuffer{}, &output{to: out, failed: func() { c.conn.Close() }}
	session.Stdin, session.Stdout, session.Stderr = in, stdout, tail
	err = session.Run(string(command))
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return nil
	case stdout.err != nil:
		return fmt.Errorf("sshhost: %w", stdout.err)
	case ctx.Err() != nil:
		return fmt.Errorf("sshhost: %w", ctx.Err())
	case errors.As(err, &exit):
		return &ExitError{Status: exit.ExitStatus(), Stderr: tail.kept.String()}
	}
	return fmt.Errorf("sshhost: %w", err)
}

// maxOutput bounds the answer of Output in bytes.
const maxOutput = 64 << 10

// Output runs a command without input, and returns what it prints, which is little.
func (c *Client) Output(ctx context.Context, command Command) (string, error) {
	var out smallBuffer
	if err := c.Run(ctx, command, nil, &out); err != nil {
		return "", err
	}
	return out.kept.String(), nil
}

// smallBuffer keeps what is written, and refuses too much.
type smallBuffer struct{ kept bytes.Buffer }

// Write fails once there would be more than maxOutput bytes.
func (s *smallBuffer) Write(p []byte) (int, error) {
	if s.kept.Len()+len(p) > maxOutput {
		return 0, fmt.Errorf("the command prints more than %d bytes", maxOutput)
	}
	return s.kept.Write(p)
}

// output passes on what a command prints. Nobody reads any more once to has failed, so that
// the command might never end: failed is called then.
type output struct {
	to     io.Writer
	failed func()
	err    error
}

// Write passes p on.
func (o *output) Write(p []byte) (int, error) {
	n, err := o.to.Write(p)
	if err != nil && o.err == nil {
		o.err = err
		o.failed()
	}
	return n, err
}

// Close ends the connection.
func (c *Client) Close() {
	if c.conn != nil {
		c.conn.Close()
	}
	if c.agent != nil {
		c.agent.Close()
	}
}

// tailBuffer keeps the end of what is written.
type tailBuffer struct{ kept bytes.Buffer }

// Write keeps at most maxStderr bytes.
func (t *tailBuffer) Write(p []byte) (int, error) {
	t.kept.Write(p) // it never fails
	if over := t.kept.Len() - maxStderr; over > 0 {
		t.kept.Next(over)
	}
	return len(p), nil
}
