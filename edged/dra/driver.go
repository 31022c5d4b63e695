package dra

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/edgekit/edgekit/edged/internal/pluginrpc"
	"github.com/edgekit/edgekit/edged/internal/protomsg"
	"github.com/edgekit/edgekit/edged/pluginregistry"
)

// callTimeout bounds a call of a driver, as a kubelet's does (dra_plugin.go).
const callTimeout = 45 * time.Second

// driver is one plugin of a DRA driver. While a driver is updated it may have two.
type driver struct {
	plugin  *pluginregistry.Plugin
	service string // as it registered, for example "v1.DRAPlugin"
	health  string // likewise, for example "v1.DRAResourceHealth"; "" without
	conn    *grpc.ClientConn
	gone    chan struct{} // closed when it is deregistered
	watched bool          // its health is followed; needs Manager.mu
}

// services are those that this node can call.
var services = [...]string{"v1.DRAPlugin", "v1beta1.DRAPlugin"}

// Register is that of pluginregistry.Handler. It does not call the driver.
func (m *Manager) Register(_ context.Context, p *pluginregistry.Plugin) error {
	i := slices.IndexFunc(p.Versions, func(v string) bool { return slices.Contains(services[:], v) })
	switch {
	case len(p.Versions) == 0:
		return fmt.Errorf("dra: invalid supported gRPC versions of DRA driver plugin %s at endpoint %s: empty list of supported gRPC services (aka supported versions)", p.Name, p.Endpoint)
	case i < 0:
		return fmt.Errorf("dra: invalid supported gRPC versions of DRA driver plugin %s at endpoint %s: none of services supported by the plugin (%q) are supported by this node (%q)", p.Name, p.Endpoint, p.Versions, services)
	case !filepath.IsAbs(p.Endpoint):
		return fmt.Errorf("dra: the endpoint %q of driver %s is no absolute path of a socket", p.Endpoint, p.Name)
	}
	// A driver that comes back is reached within seconds, not after gRPC's two minutes.
	soon := backoff.DefaultConfig
	soon.MaxDelay = 3 * time.Second
	conn, err := pluginrpc.Dial(p.Endpoint, grpc.WithConnectParams(grpc.ConnectParams{Backoff: soon, MinConnectTimeout: 5 * time.Second}))
	if err != nil {
		return err
	}
	d := &driver{plugin: p, service: p.Versions[i], conn: conn, gone: make(chan struct{})}
	for _, s := range slices.Backward(healthServices[:]) {
		if slices.Contains(p.Versions, s) {
			d.health = s
		}
	}
	m.mu.Lock()
	taken := slices.ContainsFunc(m.drivers[p.Name], func(d *driver) bool { return d.plugin.Endpoint == p.Endpoint })
	if !taken {
		m.drivers[p.Name] = append(m.drivers[p.Name], d)
	}
	m.mu.Unlock()
	if taken { // one plugin cannot take the endpoint of another
		return errors.Join(fmt.Errorf("dra: endpoint %s already registered for DRA driver plugin %s", p.Endpoint, p.Name), conn.Close())
	}
	m.cfg.Logger.Info("DRA driver registered", "driver", p.Name, "endpoint", p.Endpoint, "service", p.Versions[i])
	return nil
}

// Deregister is that of pluginregistry.Handler. Calls of the plugin that are under way fail.
func (m *Manager) Deregister(p *pluginregistry.Plugin) {
	m.mu.Lock()
	var gone *driver
	m.drivers[p.Name] = slices.DeleteFunc(m.drivers[p.Name], func(d *driver) bool {
		if d.plugin != p {
			return false
		}
		gone = d
		return true
	})
	if len(m.drivers[p.Name]) == 0 {
		delete(m.drivers, p.Name)
	}
	m.mu.Unlock()
	if gone == nil {
		return
	}
	close(gone.gone)
	if err := gone.conn.Close(); err != nil {
		m.cfg.Logger.Debug("cannot close the connection to a DRA driver", "driver", p.Name, "err", err)
	}
	m.cfg.Logger.Info("DRA driver is gone", "driver", p.Name, "endpoint", p.Endpoint)
}

// Changed is that of pluginregistry.Handler.
func (m *Manager) Changed(context.Context) {
	m.cfg.Registered()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (m *Manager) callPrepare(ctx context.Context, name string, r record) ([]Device, error) {
	const operation = "NodePrepareResources"
	answer, err := m.call(ctx, name, operation, r)
	if err != nil {
		return nil, err
	}
	entry, err := readEntry(operation, answer, r)
	if err != nil {
		return nil, err
	}
	return readDevices(operation, entry, r)
}

func (m *Manager) callUnprepare(ctx context.Context, name string, r record) error {
	const operation = "NodeUnprepareResources"
	answer, err := m.call(ctx, name, operation, r)
	if err != nil {
		return err
	}
	entry, err := readEntry(operation, answer, r)
	if err != nil {
		return err
	}
	return failure(operation, entry, 1, r)
}

// call calls the newest plugin of a driver that can be reached.
func (m *Manager) call(ctx context.Context, name, operation string, r record) (protomsg.Message, error) {
	m.mu.Lock()
	plugins := slices.Clone(m.drivers[name])
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := notRegistered(name)
	for _, d := range slices.Backward(plugins) {
		method := "/k8s.io.kubelet.pkg.apis.dra." + d.service + "/" + operation
		began := time.Now()
		answer, failed := pluginrpc.Call(ctx, d.conn, method, claimsRequest(r))
		code := status.Code(failed)
		m.metrics.calls.WithLabelValues(name, method, code.String()).Observe(time.Since(began).Seconds())
		if failed == nil {
			return answer, nil
		}
		err = fmt.Errorf("%s: %w", operation, failed)
		if code != codes.Unavailable {
			break
		}
	}
	return nil, err
}
