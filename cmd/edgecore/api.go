package main

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
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

// localAPI makes the node's own Kubernetes API. Its socket is always there, its
// TCP port only with --local-api-listen. Besides Kubernetes' paths it has those of devices and of
// more. The authority in the data folder signs its
// certificate. kubelet answers the requests for logs, exec, attach and port forwards.
func (r *runCmd) localAPI(n *node, mgr *manager.Manager, authority *apiserver.Authority, kubelet http.Handler, more map[string]http.Handler, engine *twin.Engine, log *slog.Logger) (*apiserver.Server, error) {
	for setting, n := range map[string]int{"local-api-max-connections": r.LocalAPIMaxConns, "local-api-max-per-address": r.LocalAPIMaxPerAddress} {
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
	maps.Copy(extensions, more)
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
		ExpiredTokens: cmp.Or(r.LocalAPIExpiredTokens, -1), // 0 is the library's default; the flag has its own
		Authority:     authority, Dir: dir, Socket: filepath.Join(dir, apiSocket), Listen: r.LocalAPIListen,
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
		Version: edged.DefaultVersion, Logger: component(log, "api"),
	})
}

// capabilities are what the local API needs from the cloud, and that the node has a part in
// rules; the hello names them.
func (r *runCmd) capabilities() []string {
	var all []string
	if r.LocalAPIListen.IsValid() {
		all = append(all, wire.Access)
	}
	if r.checksTokens() {
		all = append(all, wire.Tokens)
	}
	if r.LocalAPIServices {
		all = append(all, wire.Services)
	}
	if r.Rules {
		all = append(all, ruleswire.Capability)
	}
	return all
}
