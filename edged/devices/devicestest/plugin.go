// Package devicestest has a device plugin in the test's own process, for tests that
// control time: edged/deviceplugin/deviceplugintest is one on a real socket.
//
//	p := &devicestest.Plugin{}
//	e, err := manager.Connect("vendor.example/widget", p, devices.Options{})
//	err = e.SetDevices(devicestest.Devices("a", "b"))
package devicestest

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/edgekit/edgekit/edged/devices"
)

// Plugin is a devices.Plugin. The zero value gives each container a variable DEVICES with
// the IDs of its devices, and prefers the last of those available. It may be used by
// several goroutines.
type Plugin struct {
	mu    sync.Mutex
	calls []string
	fails map[string]error
	hangs map[string]bool
	edits *devices.Edits
}

var _ devices.Plugin = (*Plugin)(nil)

// Devices makes healthy devices. One with a node has the form "ID@3".
func Devices(ids ...string) []devices.Device {
	var out []devices.Device
	for _, id := range ids {
		name, node, ok := strings.Cut(id, "@")
		d := devices.Device{ID: name, Healthy: true}
		if ok {
			d.Nodes = 1 << (node[0] - '0')
		}
		out = append(out, d)
	}
	return out
}

// Fail has the calls of a method fail with err; nil ends that.
func (p *Plugin) Fail(method string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fails == nil {
		p.fails = make(map[string]error)
	}
	p.fails[method] = err
}

// Hang has the calls of a method wait for the end of their context, or no more.
func (p *Plugin) Hang(method string, hang bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hangs == nil {
		p.hangs = make(map[string]bool)
	}
	p.hangs[method] = hang
}

// Answer has Allocate answer with edits.
func (p *Plugin) Answer(edits devices.Edits) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.edits = &edits
}

// Calls lists the calls so far, each with the IDs that it names.
func (p *Plugin) Calls() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls)
}

func (p *Plugin) call(ctx context.Context, method string, ids []string) error {
	p.mu.Lock()
	p.calls = append(p.calls, method+" "+strings.Join(ids, ","))
	err, hang := p.fails[method], p.hangs[method]
	p.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

// Preferred implements devices.Plugin.
func (p *Plugin) Preferred(ctx context.Context, available, must []string, size int) ([]string, error) {
	ids := slices.DeleteFunc(slices.Sorted(slices.Values(available)), func(id string) bool { return slices.Contains(must, id) })
	ids = slices.Concat(must, ids[max(0, len(ids)+len(must)-size):])
	return ids, p.call(ctx, "Preferred", available)
}

// Allocate implements devices.Plugin.
func (p *Plugin) Allocate(ctx context.Context, ids []string) (devices.Edits, error) {
	p.mu.Lock()
	edits := p.edits
	p.mu.Unlock()
	if edits == nil {
		edits = &devices.Edits{Env: map[string]string{"DEVICES": strings.Join(ids, ",")}}
	}
	return *edits, p.call(ctx, "Allocate", ids)
}

// PreStart implements devices.Plugin.
func (p *Plugin) PreStart(ctx context.Context, ids []string) error {
	return p.call(ctx, "PreStart", ids)
}
