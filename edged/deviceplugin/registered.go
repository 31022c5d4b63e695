package deviceplugin

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/edgekit/edgekit/edged/internal/deviceapi"
	"github.com/edgekit/edgekit/edged/pluginregistry"
)

var _ pluginregistry.Handler = (*Server)(nil)

// Register is that of pluginregistry.Handler, for plugins of the type DevicePlugin. The
// name of such a plugin is that of its resource.
func (s *Server) Register(ctx context.Context, p *pluginregistry.Plugin) error {
	switch {
	case !slices.Contains(p.Versions, deviceapi.Version):
		return fmt.Errorf("deviceplugin: manager version, %s, is not among plugin supported versions %q", deviceapi.Version, p.Versions)
	case !filepath.IsAbs(p.Endpoint):
		return fmt.Errorf("deviceplugin: the endpoint %q of %s is no absolute path of a socket", p.Endpoint, p.Name)
	}
	return s.Connect(ctx, p.Name, p.Endpoint)
}

// Deregister is that of pluginregistry.Handler.
func (s *Server) Deregister(p *pluginregistry.Plugin) { s.Disconnect(p.Name, p.Endpoint) }

// Changed is that of pluginregistry.Handler. It does nothing: a plugin says itself what it
// has.
func (*Server) Changed(context.Context) {}
