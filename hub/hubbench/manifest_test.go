package hubbench_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// manifest is the JSON of a pod, about 2 KiB as a cluster's API server has it
// without managed fields. No two seeds give the same names, ids, image, digest
// and environment; keys and structure are the same, as in a cluster.
func manifest(seed int) string {
	r := rand.New(rand.NewPCG(uint64(seed), 2))
	hex := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "0123456789abcdef"[r.IntN(16)]
		}
		return string(b)
	}
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	uid := func() string { return hex(8) + "-" + hex(4) + "-4" + hex(3) + "-a" + hex(3) + "-" + hex(12) }
	app := pick("gateway", "camera", "historian", "modbus", "opcua", "alarms", "model", "relay") + "-" + pick("north", "south", "press", "oven", "belt", "dock")
	set := app + "-" + hex(9)
	var env []string
	for _, name := range []string{"SITE", "LINE", "BROKER_URL", "POLL_INTERVAL", "LOG_LEVEL", "API_TOKEN"} {
		env = append(env, fmt.Sprintf(`{"name":%q,"value":%q}`, name, pick("plant-", "mqtt://10.20.", "line-", "")+hex(4+r.IntN(12))))
	}
	return fmt.Sprintf(`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"%[1]s-%[2]s","generateName":"%[1]s-","namespace":"production","uid":"%[3]s",`+
		`"resourceVersion":"%[4]d","creationTimestamp":"2026-0%[5]d-1%[6]dT08:%[7]d:1%[6]dZ","labels":{"app.kubernetes.io/name":"%[8]s","pod-template-hash":"%[9]s",`+
		`"topology.kubernetes.io/zone":"%[10]s"},"annotations":{"checksum/config":"%[11]s","prometheus.io/port":"9%[7]d","prometheus.io/scrape":"true"},`+
		`"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"%[1]s","uid":"%[12]s","controller":true,"blockOwnerDeletion":true}]},`+
		`"spec":{"volumes":[{"name":"config","configMap":{"name":"%[8]s-config","defaultMode":420}},{"name":"kube-api-access-%[2]s","projected":{"sources":`+
		`[{"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}},{"configMap":{"name":"kube-root-ca.crt","items":[{"key":"ca.crt","path":"ca.crt"}]}}],"defaultMode":420}}],`+
		`"containers":[{"name":"%[8]s","image":"registry.example.com/plant/%[8]s@sha256:%[13]s","ports":[{"containerPort":8%[7]d,"protocol":"TCP"}],"env":[%[14]s],`+
		`"resources":{"limits":{"cpu":"%[7]d0m","memory":"%[7]dMi"},"requests":{"cpu":"%[7]dm","memory":"%[7]dMi"}},"volumeMounts":[{"name":"config","readOnly":true,"mountPath":"/etc/%[8]s"},`+
		`{"name":"kube-api-access-%[2]s","readOnly":true,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}],"imagePullPolicy":"IfNotPresent"}],`+
		`"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","serviceAccountName":"%[8]s","nodeName":"edge-%[10]s"}}`,
		set, hex(5), uid(), 100_000_000+r.IntN(1<<30), 1+r.IntN(9), r.IntN(10), 10+r.IntN(50), app, hex(9), hex(6), hex(64), uid(), hex(64), strings.Join(env, ","))
}
