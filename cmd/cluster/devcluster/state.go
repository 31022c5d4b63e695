package devcluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/edgekit/edgekit/cmd/cluster/nodenet"
)

// state is what a cluster remembers in state.json: chosen once, kept until
// Down.
type state struct {
	ID      string            `json:"id"`
	Ports   ports             `json:"ports"`
	Network nodenet.Plan      `json:"network"`
	Bin     map[string]string `json:"bin"`    // program to file
	Images  map[string]string `json:"images"` // name to the digest of the archive that was imported
}

// ports are on loopback.
type ports struct {
	EtcdClient, EtcdPeer, APIServer, ControllerManager, Scheduler int
}

// Attach reads what an earlier Up recorded, so that a program can work with a
// cluster that it did not bring up. It returns ErrNotUp where there is none.
func (c *Cluster) Attach() error {
	ok, err := c.load()
	if err == nil && !ok {
		err = ErrNotUp
	}
	return err
}

// load reads the state; ok is false when there is none.
func (c *Cluster) load() (ok bool, err error) {
	b, err := os.ReadFile(c.path("state.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("devcluster: %w", err)
	}
	if err := json.Unmarshal(b, &c.state); err != nil {
		return false, fmt.Errorf("devcluster: %s: %w", c.path("state.json"), err)
	}
	if c.state.ID != "" {
		c.id = c.state.ID
	}
	return true, nil
}

// save writes the state whole or not at all.
func (c *Cluster) save() error {
	b, err := json.MarshalIndent(c.state, "", "  ")
	if err != nil {
		return fmt.Errorf("devcluster: %w", err)
	}
	if err := os.WriteFile(c.path("state.json.tmp"), b, 0o600); err != nil {
		return fmt.Errorf("devcluster: %w", err)
	}
	if err := os.Rename(c.path("state.json.tmp"), c.path("state.json")); err != nil {
		return fmt.Errorf("devcluster: %w", err)
	}
	return nil
}

// choose fills in a fresh state.
func (c *Cluster) choose() error {
	free, err := FreePorts(5)
	if err != nil {
		return err
	}
	plan, err := nodenet.Choose(c.id[0] ^ c.id[7]<<4)
	if err != nil {
		return fmt.Errorf("devcluster: %w", err)
	}
	c.state = state{ID: c.id, Ports: ports{free[0], free[1], free[2], free[3], free[4]}, Network: plan,
		Bin: map[string]string{}, Images: map[string]string{}}
	return nil
}

// FreePorts finds n ports on loopback that nobody listens on now.
func FreePorts(n int) ([]int, error) {
	var free []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("devcluster: find a free port: %w", err)
		}
		defer l.Close() // after all were chosen, so that they differ
		free = append(free, l.Addr().(*net.TCPAddr).Port)
	}
	return free, nil
}

// lock keeps other programs from changing the cluster until unlock is called.
// The lock file is beside the folder, since Down removes the folder.
func (c *Cluster) lock() (unlock func(), err error) { return lockFile(c.cfg.Dir + ".lock") }

// lockFile waits for the lock on a file, which whoever unlocks may remove; a
// lock on a file that has meanwhile been removed counts for nothing.
func lockFile(name string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, fmt.Errorf("devcluster: %w", err)
	}
	for {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, fmt.Errorf("devcluster: %w", err)
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			f.Close()
			return nil, fmt.Errorf("devcluster: lock %s: %w", name, err)
		}
		mine, err1 := f.Stat()
		there, err2 := os.Stat(name)
		if err1 == nil && err2 == nil && os.SameFile(mine, there) {
			return func() {
				_ = os.Remove(name) // the next one makes it again
				f.Close()
			}, nil
		}
		f.Close()
	}
}
