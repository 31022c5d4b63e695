package install_test

import (
	"testing"

	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/controller/install/apiservertest"
)

// apiServer is a real kube-apiserver with an etcd of its own.
type apiServer struct {
	*apiservertest.Server
	admin *rest.Config // a member of system:masters
	host  string
}

// as returns the configuration of a bearer of a token.
func (a *apiServer) as(token string) *rest.Config { return a.As(token) }

func startAPIServer(t *testing.T, further ...string) *apiServer {
	t.Helper()
	server := apiservertest.Start(t, further...)
	return &apiServer{server, server.Admin, server.Host}
}
