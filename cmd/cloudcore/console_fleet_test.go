package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/cmd/internal/simulate"
)

// TestConsoleFleet has a real browser click through every page of the console of a cloudcore, with NODES
// simulated nodes and a real API server behind it ('make console-fleet').
func TestConsoleFleet(t *testing.T) {
	if os.Getenv("NODES") == "" || os.Getenv("CONSOLE") == "" {
		t.Skip("'make console-fleet' runs 1,000 nodes: set CONSOLE=1 and NODES")
	}
	nodes := number(t, "NODES", 0)
	x := newClouds(t, 1, nil)
	x.simulate(simulate.Config{Servers: []string{x.states[0].Address}, Nodes: nodes, Pods: 1, Twins: 1})
	x.check(nodes, 1)
	x.clickConsole(nodes)
}

// clickConsole starts one more cloudcore, with a console, and runs TestCluster of the console's page
// against it. Each node must have a device.
func (x *trio) clickConsole(nodes int) {
	x.t.Helper()
	address := freeAddress(x.t)
	x.add("--console-listen=" + address)
	defer func() {
		x.clouds[len(x.clouds)-1].Kill()
		x.remove(len(x.clouds) - 1)
	}()
	cmd := exec.CommandContext(x.t.Context(), "go", "test", "-count=1", "-v", "-run", "^TestCluster$", ".")
	cmd.Dir = "../../controller/console/pagetest"
	cmd.Env = append(os.Environ(), "CONSOLE_URL=https://"+address, "CONSOLE_TOKEN="+x.administrator(), fmt.Sprint("NODES=", nodes))
	out, err := cmd.CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "RESULT ") || strings.Contains(line, "--- SKIP") {
			fmt.Print(line)
		}
	}
	if err != nil {
		x.t.Errorf("the console: %v:\n%s", err, out)
	}
}

// freeAddress is one on which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// administrator is a token of a user who may do everything.
func (x *trio) administrator() string {
	x.t.Helper()
	ctx, name := x.t.Context(), "console-admin"
	if _, err := x.client.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		x.t.Fatal(err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "default", Name: name}},
	}
	if _, err := x.client.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		x.t.Fatal(err)
	}
	token, err := x.client.CoreV1().ServiceAccounts("default").CreateToken(ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		x.t.Fatal(err)
	}
	return token.Status.Token
}
