package actions

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/cgroup"
	"github.com/edgekit/edgekit/edged/internal/hostinfo"
	"github.com/edgekit/edgekit/edged/internal/podspec"
)

// Facts is what of the node's state goes into the configuration of a
// container.
func (p *Performer) Facts() podspec.Node {
	groups := p.cfg.Groups.Load()
	if groups == nil { // the runtime has not answered yet
		groups = cgroup.New(cgroup.Config{})
	}
	return podspec.Node{
		Capacity: p.cfg.Node.Capacity(), Allocatable: p.cfg.Node.Allocatable(), Features: p.cfg.Node.Features(), CgroupV2: groups.V2(),
		SwapLimited: groups.SwapLimited(), Swap: hostinfo.SwapTotal(), HugePageSizes: groups.HugePageSizes(),
	}
}

// checkCgroupDriver says, once, that the runtime makes its cgroups in another way than
// it is taken to.
func (p *Performer) checkCgroupDriver(pod *corev1.Pod) {
	if !p.cfg.Groups.LimitPods() || !p.cfg.Groups.Load().Misplaced(podspec.QOSClass(pod), string(pod.UID)) || !p.cfg.Specs.FirstNotice("WrongCgroupDriver") {
		return
	}
	const message = "the runtime does not have systemd make its cgroups, so that limits of pods as a whole do not bind: run edgecore with --cgroup-driver cgroupfs (SDK: cri.Config.CgroupDriver)"
	p.cfg.Logger.Warn(message)
	p.cfg.Events.Node(corev1.EventTypeWarning, "WrongCgroupDriver", message)
}

// complainDNS reports what the resolver configuration of a pod lacks. What is a
// matter of the node is said once in an agent's life, of the node.
func (p *Performer) complainDNS(pod *corev1.Pod) {
	_, complaints, err := p.cfg.Specs.DNS(pod)
	if err != nil {
		p.cfg.Logger.Debug("cannot read the host's resolver configuration", "pod", podspec.Title(pod), "err", err)
	}
	for _, c := range complaints {
		switch {
		case !c.OfNode:
			p.cfg.Events.Pod(pod, c.Type, c.Reason, c.Message)
		case p.cfg.Specs.FirstNotice(c.Reason):
			log := p.cfg.Logger.Info
			if c.Type == corev1.EventTypeWarning {
				log = p.cfg.Logger.Warn
			}
			log("the node's DNS settings limit its pods", "reason", c.Reason, "message", c.Message)
			p.cfg.Events.Node(c.Type, c.Reason, c.Message)
		}
	}
}

// recordNetwork records, of a pod that got no sandbox, that the runtime has no network, if so.
func (p *Performer) recordNetwork(ctx context.Context, pod *corev1.Pod) {
	if pod.Spec.HostNetwork {
		return
	}
	if health, err := p.cfg.Runtime.Health(ctx); err == nil && !health.NetworkReady {
		p.cfg.Events.Pod(pod, corev1.EventTypeWarning, "NetworkNotReady", "network is not ready: "+health.NetworkMessage)
	}
}
