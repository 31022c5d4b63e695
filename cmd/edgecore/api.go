package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"time"

	ruleswire "github.com/edgekit/edgekit/bus/rules/wire"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/meta/apiserver"
	"github.com/edgekit/edgekit/meta/apiserver/wire"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/twin"
)

// apiSocket is the local API's socket in the folder api.
const apiSocket = "api.sock"

// defaultAPIAddress is that of --local-api-listen.
const defaultAPIAddress = "169.254.30.10:10550"

// listenAPI listens on the address on which pods reach the node's own API, LocalAPIListen. If that
// does not work, the default is not served, and pods get no variables for it; any other address
// is a fault of the settings. The listener stays open until the API serves it, so that another
// edgecore of this machine does not take the address meanwhile. It is nil, and LocalAPIListen
// is invalid, if no pods are served.
func (r *runCmd) listenAPI(log *slog.Logger) (net.Listener, error) {
	return r.listenAPIBy(log, listenOn)
}

// listenOn has the machine own an address, and listens on it.
func listenOn(addr netip.AddrPort) (net.Listener, error) {
	if err := apiserver.EnsureAddress(addr.Addr()); err != nil {
		return nil, err
	}
	return net.Listen("tcp", addr.String())
}

func (r *runCmd) listenAPIBy(log *slog.Logger, listen func(netip.AddrPort) (net.Listener, error)) (net.Listener, error) {
	addr := r.LocalAPIListen
	r.LocalAPIListen = netip.AddrPort{}
	if !r.LocalAPI || !addr.IsValid() {
		return nil, nil //nolint:nilnil // no listener is no error
	}
	l, err := listen(addr)
	switch {
	case err == nil:
		r.LocalAPIListen = addr
		return l, nil
	case addr.String() == defaultAPIAddress:
		log.Warn("the node's own Kubernetes API is not served to pods: set local-api-listen to another address of this machine", "address", addr, "err", err)
		return nil, nil //nolint:nilnil // no listener is no error
	}
	return nil, &program.UsageError{Setting: "local-api-listen", Reason: err.Error() + ": choose a free address of this machine, or one in 169.254.0.0/16"}
}

// followLink passes on the state of the link, and each change, until ctx ends.
func followLink(mgr *manager.Manager) func(context.Context, func(connected bool)) {
	return func(ctx context.Context, changed func(connected bool)) {
		for info := range mgr.Connections(ctx) {
			changed(info.Connected)
		}
	}
}

// localAPI makes the node's own Kubernetes API. Its socket is always there, its
// TCP port unless it is turned off. Besides Kubernetes' paths it has those of devices and of more. The
// authority in the data folder signs its certificate. kubelet answers the requests for logs, exec,
// attach and port forwards.
func (r *runCmd) localAPI(n *node, mgr *manager.Manager, link *link, listener net.Listener, authority *apiserver.Authority, kubelet http.Handler, more []map[string]http.Handler, engine *twin.Engine, log *slog.Logger) (*apiserver.Server, error) {
	for setting, n := range map[string]int{"local-api-max-connections": r.LocalAPIMaxConns, "local-api-max-per-address": r.LocalAPIMaxPerAddress, "local-api-max-requests": r.LocalAPIRequests} {
		if n < 0 {
			return nil, &program.UsageError{Setting: setting, Reason: fmt.Sprintf("%d: give a number above 0, or leave it out for the default", n)}
		}
	}
	extensions, err := r.extensions(engine, log)
	if err != nil {
		return nil, err
	}
	if extensions == nil {
		extensions = make(map[string]http.Handler)
	}
	for _, paths := range more {
		maps.Copy(extensions, paths)
	}
	dir := filepath.Join(n.data, apiDir)
	device := func(name, singular, kind string) apiserver.Resource {
		return apiserver.Resource{Group: "devices.kubeedge.io", Version: "v1beta1", Name: name, Singular: singular, Kind: kind, Namespaced: true}
	}
	return apiserver.New(apiserver.Config{
		Store: n.store, Node: n.name, Cloud: mgr,
		Connected: func() (bool, time.Time) {
			info := mgr.Connection()
			return info.Connected, info.Since
		},
		Transport: manager.NewTransport(link, wire.Stream), FollowLink: followLink(mgr), MaxStreams: r.LocalAPIRequests,
		ExpiredTokens: cmp.Or(r.LocalAPIExpiredTokens, -1), // 0 is the library's default; the flag has its own
		Authority:     authority, Dir: dir, Socket: filepath.Join(dir, apiSocket), Listen: r.LocalAPIListen, Listener: listener,
		NodeCAs: func() *x509.CertPool {
			pool := x509.NewCertPool()
			for _, root := range n.identity.Credentials().Roots {
				pool.AddCert(root)
			}
			return pool
		},
		MaxConns: r.LocalAPIMaxConns, MaxPerAddress: r.LocalAPIMaxPerAddress,
		Kubelet: kubelet, Extensions: extensions,
		Custom:  []apiserver.Resource{device("devices", "device", "Device"), device("devicemodels", "devicemodel", "DeviceModel")},
		Version: program.NodeVersion(edged.DefaultVersion), Logger: component(log, "api"),
	})
}

// onlyAdmin reports whether the node's administrator makes a request. It answers anybody else that
// only the administrator may do it.
func onlyAdmin(w http.ResponseWriter, r *http.Request, do string) bool {
	if who, ok := apiserver.IdentityOf(r.Context()); ok && who.Admin() {
		return true
	}
	http.Error(w, "only the node's administrator may "+do, http.StatusForbidden)
	return false
}

// answerJSON answers in JSON.
func answerJSON(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body) // a client that is gone needs no answer
}

// capabilities are what the local API needs from the cloud, and that the node has a part in
// rules; the hello names them.
func (r *runCmd) capabilities() []string {
	var all []string
	if r.LocalAPIListen.IsValid() {
		all = append(all, wire.Access, wire.Synced)
	}
	if r.checksTokens() {
		all = append(all, wire.Tokens)
	}
	if r.LocalAPIServices {
		all = append(all, wire.Services, wire.Groups)
	}
	if r.Rules {
		all = append(all, ruleswire.Capability)
	}
	return all
}
