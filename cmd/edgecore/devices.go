package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/meta/apiserver"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/httpapi"
)

// deviceFlags are the settings of devices and of what apps on the node may do with them.
type deviceFlags struct {
	DeviceAPI             string        `help:"What pods may do with devices over HTTP, at /twin/v1/ of the node's own API and with their tokens: namespace, read and set the devices of their own namespace; read, only read these; off, nothing. Root, on the API's socket, may do everything." name:"device-api" default:"namespace" enum:"namespace,read,off" placeholder:"WHAT"`
	DeviceHistoryMiB      int64         `help:"How many MiB the past values of devices have on disk, of those properties whose DeviceModel asks for a history. 0 keeps none." name:"device-history-mib" default:"16"`
	DeviceHistoryInterval time.Duration `help:"How often new past values are written. A power cut loses those of that time, and no current value." name:"device-history-interval" default:"1m"`
}

// engine makes the twins of the node.
func (f deviceFlags) engine(n *node, log *slog.Logger) (*twin.Engine, error) {
	switch {
	case f.DeviceHistoryMiB < 0 || f.DeviceHistoryMiB > 1<<20:
		return nil, &program.UsageError{Setting: "device-history-mib", Reason: fmt.Sprintf("%d MiB: give a number from 1 to 1048576, or 0 for no history", f.DeviceHistoryMiB)}
	case f.DeviceHistoryInterval < time.Second:
		return nil, &program.UsageError{Setting: "device-history-interval", Reason: fmt.Sprintf("%v is less than 1s, which would wear out a flash disk", f.DeviceHistoryInterval)}
	}
	size := f.DeviceHistoryMiB << 20
	if size == 0 {
		size = -1 // 0 is the library's default; the flag has its own
	}
	return twin.New(twin.Config{Store: n.store, HistoryBytes: size, HistoryEvery: f.DeviceHistoryInterval, Logger: component(log, "twin")})
}

// extensions are what the node's own API serves besides Kubernetes' paths.
func (f deviceFlags) extensions(engine *twin.Engine, log *slog.Logger) (map[string]http.Handler, error) {
	api, err := httpapi.New(httpapi.Config{Engine: engine, Authorize: f.authorize, Client: apiClient, Logger: component(log, "twin")})
	if err != nil {
		return nil, err
	}
	return map[string]http.Handler{httpapi.Prefix: api}, nil
}

// authorize says what a client of the node's own API may do with a device.
func (f deviceFlags) authorize(r *http.Request, device string, action httpapi.Action) error {
	who, ok := apiserver.IdentityOf(r.Context())
	if !ok {
		return httpapi.ErrUnauthenticated
	}
	return f.mayUse(who, device, action)
}

func (f deviceFlags) mayUse(who apiserver.Identity, device string, action httpapi.Action) error {
	switch {
	case who.Admin():
		return nil
	case f.DeviceAPI == "off":
		return errors.New("pods may not use devices over HTTP on this node: --device-api of edgecore is off")
	case who.Namespace() == "" || !strings.HasPrefix(device, who.Namespace()+"/"):
		return fmt.Errorf("%s may use devices of its own namespace only", who.User)
	case action != httpapi.Read && f.DeviceAPI == "read":
		return errors.New("pods may only read devices on this node: --device-api of edgecore is read")
	}
	return nil
}

// apiClient names a client for the limits: a user of the API, not an address, as all pods of
// the host's network have the same.
func apiClient(r *http.Request) string {
	who, _ := apiserver.IdentityOf(r.Context())
	return who.User
}
