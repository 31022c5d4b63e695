package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/cmd/demo/site"
)

const (
	nodeName = "churn-1"
	metrics  = "127.0.0.1:10002" // inside the node's network
	diskSize = 384 << 20         // of the node's data folder
)

// node is the edge machine.
type node struct {
	site *site.Site
	mu   sync.Mutex // held while edgecore is killed or started
}

// start brings up the cluster, the cloud and the edge. The node's data folder is
// a file system of its own, which can be filled without harm.
func (n *node) start(ctx context.Context) error {
	s := n.site
	if _, err := s.Up(ctx); err != nil {
		return err
	}
	if err := s.Images(ctx); err != nil {
		return err
	}
	if err := s.Build(ctx); err != nil {
		return err
	}
	if err := s.StartCloud(ctx); err != nil {
		return err
	}
	data := s.DataDir(nodeName)
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("edgekit-churn", data, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", diskSize)); err != nil {
		return fmt.Errorf("mount %s: %w", data, err)
	}
	token, err := s.Token(ctx, nodeName)
	if err != nil {
		return err
	}
	if err := s.Join(ctx, nodeName, token); err != nil {
		return err
	}
	if err := n.startEdge(); err != nil {
		return err
	}
	_, err = s.WaitNode(ctx, nodeName, corev1.ConditionTrue, time.Minute)
	return err
}

func (n *node) startEdge() error {
	_, err := n.site.StartEdge(nodeName, "--metrics-listen", metrics)
	return err
}

// supervise starts edgecore again where it has ended by itself, as a service
// manager does: badger's memory maps end it when others fill the disk.
func (n *node) supervise(ctx context.Context) error {
	for sleep(ctx, time.Second) == nil {
		n.mu.Lock()
		running, err := n.site.Running(ctx, "edgecore")
		if err == nil && !running {
			fmt.Println("  edgecore has ended by itself and is started again")
			err = n.startEdge()
		}
		n.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// kill kills edgecore and containerd in turn, each at its share of the first four
// fifths of the pods, and gives the number of kills.
func (n *node) kill(ctx context.Context, w *world) (done int, err error) {
	for i := range 2 * w.opts.Kills {
		at := int64(w.opts.Pods) * 4 / 5 * int64(i+1) / int64(2*w.opts.Kills)
		if err := w.reach(ctx, at); err != nil {
			return done, err
		}
		if err := sleep(ctx, time.Duration(w.roll(int(time.Second)))); err != nil {
			return done, err
		}
		if i%2 == 1 {
			err = n.site.RestartRuntime(ctx)
		} else {
			err = n.restartEdge(ctx)
		}
		if err != nil {
			return done, err
		}
		done++
	}
	return done, nil
}

func (n *node) restartEdge(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.site.KillEdge(ctx); err != nil {
		return err
	}
	return n.startEdge()
}

// reach waits until so many pods were started.
func (w *world) reach(ctx context.Context, pods int64) error {
	return until(ctx, time.Hour, func() error {
		if c := w.created.Load(); c < pods {
			return fmt.Errorf("%d of %d pods were started", c, pods)
		}
		return nil
	})
}

// breakNetwork lets the pods' network fail for a while: neither are sandboxes
// connected, nor can they be taken off.
func (n *node) breakNetwork(ctx context.Context, w *world) error {
	if err := w.reach(ctx, int64(w.opts.Pods)/4); err != nil {
		return err
	}
	file := filepath.Join(n.site.Dir(), "cni", "net.d", "10-edgekit.conflist")
	whole, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	broken := strings.ReplaceAll(string(whole), `"type": "bridge"`, `"type": "edgekit-absent"`)
	if broken == string(whole) {
		return fmt.Errorf("%s has no plugin bridge to replace", file)
	}
	fmt.Println("  the pods' network fails")
	if err := os.WriteFile(file, []byte(broken), 0o600); err != nil {
		return err
	}
	err = sleep(ctx, w.opts.Trouble)
	fmt.Println("  the pods' network works again")
	return errors.Join(err, os.WriteFile(file, whole, 0o600))
}

// fillDisk fills the node's data folder for a while.
func (n *node) fillDisk(ctx context.Context, w *world) error {
	if err := w.reach(ctx, int64(w.opts.Pods)*11/20); err != nil {
		return err
	}
	name := filepath.Join(n.site.DataDir(nodeName), "filler")
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	fmt.Println("  the node's disk is full")
	block, end := make([]byte, 1<<20), time.Now().Add(w.opts.Trouble)
	for time.Now().Before(end) { // space that is freed meanwhile is filled again
		if _, err := f.Write(block); err == nil {
			continue
		} else if !errors.Is(err, unix.ENOSPC) {
			return errors.Join(err, os.Remove(name))
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return errors.Join(err, os.Remove(name))
		}
	}
	fmt.Println("  the node's disk has room again")
	return os.Remove(name)
}
