package main

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// serviceVariables starts a pod when the node has the Service, and reads its environment.
func (l *leg) serviceVariables(ctx context.Context) error {
	var service corev1.Service
	if err := l.kube.Get(ctx, &service, "service", "web", "-n", namespace); err != nil {
		return err
	}
	if err := l.apply(ctx, pod{name: "client", script: idle}.yaml()); err != nil {
		return err
	}
	if err := l.waitPod(ctx, "client", podIsReady(true)); err != nil {
		return err
	}
	return inPod("client", "[ \"$WEB_SERVICE_HOST:$WEB_SERVICE_PORT\" = "+service.Spec.ClusterIP+":80 ] || { env; exit 1; }")(ctx, l)
}

// dns runs CoreDNS on the machine, a client of the node's own API. A pod asks it.
func (l *leg) dns(ctx context.Context) error {
	var service corev1.Service
	if err := l.kube.Get(ctx, &service, "service", "web", "-n", namespace); err != nil {
		return err
	}
	if err := sh(`cat > /root/Corefile <<'CONF'
.:53 {
	errors
	kubernetes cluster.local in-addr.arpa {
		kubeconfig /var/lib/edgekit/api/admin.kubeconfig
	}
}
CONF
systemctl stop -q coredns 2>/dev/null; systemd-run -q --unit=coredns /root/kit/coredns -conf /root/Corefile`)(ctx, l); err != nil {
		return err
	}
	if err := inPod("client", "grep -q 'nameserver "+machineIP+"' /etc/resolv.conf && grep -q 'search vm.svc.cluster.local' /etc/resolv.conf || { cat /etc/resolv.conf; exit 1; }")(ctx, l); err != nil {
		return err
	}
	if err := await(ctx, podLimit, func(ctx context.Context) error {
		out, err := l.exec(ctx, "client", "nslookup web.vm.svc.cluster.local")
		if err == nil && !strings.Contains(out, service.Spec.ClusterIP) {
			err = fmt.Errorf("nslookup says %q, want %s", out, service.Spec.ClusterIP)
		}
		return err
	}); err != nil {
		return err
	}
	return l.deletePods(ctx, "client")
}

const deviceYAML = `apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata: {name: thermometer, namespace: vm}
spec:
  protocol: thermometer
  properties:
  - {name: temperature, type: FLOAT, accessMode: ReadOnly, unit: C}
  - {name: target, type: FLOAT, accessMode: ReadWrite, minimum: "5", maximum: "30", unit: C}
---
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: {name: thermometer, namespace: vm}
spec:
  deviceModelRef: {name: thermometer}
  nodeName: NODE
  protocol: {protocolName: thermometer}
  properties:
  - {name: temperature, reportToCloud: true, collectCycle: 1000}
  - {name: target, desired: {value: "21"}, reportToCloud: true, collectCycle: 1000}
`

// twin sets a device's value in the cloud. A driver on the machine applies it and reports it,
// and an MQTT client there reads it.
func (l *leg) twin(ctx context.Context) error {
	if err := l.apply(ctx, deviceYAML); err != nil {
		return err
	}
	if err := sh("install -m755 /root/kit/thermometer /usr/local/bin/; systemctl stop -q thermometer 2>/dev/null; systemd-run -q --unit=thermometer /usr/local/bin/thermometer -broker tcp://127.0.0.1:1884 -node "+l.node)(ctx, l); err != nil {
		return err
	}
	if _, err := l.kube.Run(ctx, "", "patch", "device", "thermometer", "-n", namespace, "--type=json",
		"-p", `[{"op":"replace","path":"/spec/properties/1/desired/value","value":"19"}]`); err != nil {
		return err
	}
	if err := await(ctx, podLimit, func(ctx context.Context) error {
		var status struct {
			Status struct {
				Twins []struct {
					PropertyName string
					Reported     struct{ Value string }
				}
			}
		}
		if err := l.kube.Get(ctx, &status, "devicestatus", "thermometer", "-n", namespace); err != nil {
			return err
		}
		for _, t := range status.Status.Twins {
			if t.PropertyName == "target" && strings.TrimSuffix(t.Reported.Value, ".0") == "19" {
				return nil
			}
		}
		return fmt.Errorf("target 19 is not reported: %+v", status.Status.Twins)
	}); err != nil {
		return err
	}
	topic := "'$hw/events/device/vm/thermometer/twin/get'"
	out, err := l.machine.run(ctx, `mosquitto_sub -p 1884 -C 1 -W 60 -t '$hw/events/device/vm/thermometer/twin/get/result' > /root/twin & sub=$!
for i in 1 2 3 4 5 6 7 8 9 10; do sleep 2; mosquitto_pub -p 1884 -q 1 -t `+topic+` -m '{"event_id":"vm"}'; [ -s /root/twin ] && break; done; wait $sub; cat /root/twin`)
	if err == nil && (!strings.Contains(out, `"target"`) || !strings.Contains(out, "19")) {
		err = fmt.Errorf("MQTT says %q", out)
	}
	if err == nil {
		_, err = l.kube.Run(ctx, "", "delete", "device", "thermometer", "-n", namespace, "--timeout=120s")
	}
	return err
}
