package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/access"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/meta/apiserver"
	"github.com/edgekit/edgekit/twin"
)

// mqttAudience is the audience of a token that is for the broker only. A token for the API
// server is accepted too: every pod has one.
const mqttAudience = "edgekit-mqtt"

// checksTokens reports whether the broker needs the cluster's keys.
func (r *mqttFlags) checksTokens() bool { return r.MQTTPods && r.MQTTMode != bus.External }

// listedPods is what the check of a token needs of the agent.
type listedPods interface{ Pods() []*corev1.Pod }

// access makes the rules of who may use the embedded broker, and what for; nil without one.
func (r *mqttFlags) access(n *node, api *apiserver.Server, pods listedPods, engine *twin.Engine, log *slog.Logger) (*access.Access, error) {
	if r.MQTTMode == bus.External {
		for setting, value := range map[string]string{
			"mqtt-users-file": r.MQTTUsersFile, "mqtt-rules-file": r.MQTTRulesFile, "mqtt-tls-cert": r.MQTTTLSCert, "mqtt-tls-key": r.MQTTTLSKey, "mqtt-tls-client-ca": r.MQTTTLSClientCA,
		} {
			if value != "" {
				return nil, &program.UsageError{Setting: setting, Reason: "it is for the embedded broker, and mqtt-mode is external: set up the users of the external broker there"}
			}
		}
		return nil, nil
	}
	cfg := access.Config{
		Users: r.MQTTUsersFile, Rules: r.MQTTRulesFile, Cert: r.MQTTTLSCert, Key: r.MQTTTLSKey, ClientCA: r.MQTTTLSClientCA,
		Anonymous: r.MQTTAnonymous, RemoteAnonymous: r.MQTTAllowAnonymous, Node: n.name, Protocol: protocolOf(engine), Logger: component(log, "broker"),
	}
	if r.checksTokens() {
		cfg.Token = tokenCheck(api, pods)
	}
	a, err := access.Open(cfg)
	if err != nil {
		return nil, &program.UsageError{Setting: r.accessSetting(err), Reason: err.Error()}
	}
	return a, nil
}

// accessSetting finds the setting that an error of access.Open is about.
func (r *mqttFlags) accessSetting(err error) string {
	file, ok := errors.AsType[*access.FileError](err)
	switch {
	case ok && file.File == r.MQTTUsersFile:
		return "mqtt-users-file"
	case ok && file.File == r.MQTTRulesFile:
		return "mqtt-rules-file"
	case ok && file.File == r.MQTTTLSCert:
		return "mqtt-tls-cert"
	case ok && file.File == r.MQTTTLSKey:
		return "mqtt-tls-key"
	case r.MQTTTLSClientCA != "" && (r.MQTTTLSCert == "" || (ok && file.File == r.MQTTTLSClientCA)):
		return "mqtt-tls-client-ca"
	}
	return "mqtt-tls-cert"
}

// tokenCheck checks a token as the node's own API does. Besides, it must come from this
// machine: from one of its addresses or from one of its pods. So a token that was stolen from
// a pod is of no use elsewhere in the network.
func tokenCheck(api *apiserver.Server, pods listedPods) func(context.Context, string, net.Addr) (string, error) {
	return func(ctx context.Context, token string, remote net.Addr) (string, error) {
		who, err := api.CheckToken(ctx, token, mqttAudience)
		if errors.Is(err, apiserver.ErrPodGone) {
			return "", fmt.Errorf("%w: %w", access.ErrTokenRevoked, err)
		}
		if err != nil {
			return "", err
		}
		if !fromHere(remote, pods.Pods()) {
			return "", errors.New("the token comes from an address that is neither this machine's nor one of its pods'")
		}
		return who.User, nil
	}
}

// fromHere reports whether an address is this machine's or a pod's.
func fromHere(remote net.Addr, pods []*corev1.Pod) bool {
	tcp, ok := remote.(*net.TCPAddr)
	if !ok {
		return true // a unix socket
	}
	from := tcp.AddrPort().Addr().Unmap().WithZone("")
	if from.IsLoopback() {
		return true
	}
	for _, pod := range pods {
		for _, ip := range pod.Status.PodIPs {
			if addr, err := netip.ParseAddr(ip.IP); err == nil && addr.Unmap() == from {
				return true
			}
		}
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return true // the token is good, and the machine cannot say what its addresses are
	}
	for _, addr := range own {
		if network, ok := addr.(*net.IPNet); ok && network.IP.Equal(tcp.IP) {
			return true
		}
	}
	return false
}

// protocolOf returns a function that knows the protocol of each device; empty if it does not.
// It asks the engine, which has a device before anything is published of it.
func protocolOf(engine *twin.Engine) func(device string) string {
	return func(device string) string {
		d, _ := engine.Device(device)
		return d.Member.Protocol
	}
}
