package main

import (
	"context"
	"errors"
)

// nfsExport is a folder of the machine that its own NFS server exports.
const nfsExport = "/srv/nfs"

// nfsYAML is a pod with the export by itself, and by a claim whose PersistentVolume has mount
// options.
const nfsYAML = `
apiVersion: v1
kind: PersistentVolume
metadata: {name: vm-nfs}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteMany]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: ""
  claimRef: {namespace: vm, name: nfs}
  mountOptions: [nfsvers=4.2, soft, timeo=50]
  nfs: {server: ` + machineIP + `, path: ` + nfsExport + `}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: nfs, namespace: vm}
spec:
  storageClassName: ""
  volumeName: vm-nfs
  accessModes: [ReadWriteMany]
  resources: {requests: {storage: 1Gi}}
---
apiVersion: v1
kind: Pod
metadata: {name: nfs, namespace: vm}
spec:
  nodeSelector: {kubernetes.io/hostname: NODE}
  tolerations: [{operator: Exists}]
  terminationGracePeriodSeconds: 2
  containers:
  - name: main
    image: IMAGE
    imagePullPolicy: IfNotPresent
    command: [sleep, "2147483647"]
    volumeMounts:
    - {name: plain, mountPath: /plain, readOnly: true}
    - {name: claim, mountPath: /claim}
    - {name: claim, mountPath: /part, subPath: part}
  volumes:
  - {name: plain, nfs: {server: ` + machineIP + `, path: ` + nfsExport + `, readOnly: true}}
  - {name: claim, persistentVolumeClaim: {claimName: nfs}}
`

// nfs runs a pod on volumes of a real NFS server, and looks that nothing stays mounted after
// it, also when the server went away first.
func (l *leg) nfs(ctx context.Context) error {
	defer func() { _, _ = l.machine.run(context.WithoutCancel(ctx), "systemctl stop nfs-server") }()
	serve := sh(`mkdir -p ` + nfsExport + ` && echo 'from the server' > ` + nfsExport + `/file
echo '` + nfsExport + ` *(rw,no_root_squash,no_subtree_check,insecure)' > /etc/exports
systemctl start nfs-server && exportfs -ra`)
	if err := serve(ctx, l); err != nil {
		return err
	}
	if err := l.apply(ctx, nfsYAML); err != nil {
		return err
	}
	if err := l.waitPod(ctx, "nfs", podIsReady(true)); err != nil {
		return err
	}
	const inside = `grep -q 'from the server' /plain/file && ! touch /plain/refused 2>/dev/null && echo 'from the pod' > /claim/written && touch /part/inner &&
grep -q ' /claim nfs4 .*vers=4.2.*soft' /proc/mounts`
	if err := inPod("nfs", inside)(ctx, l); err != nil {
		return err
	}
	if err := sh(`grep -q 'from the pod' `+nfsExport+`/written && [ -e `+nfsExport+`/part/inner ]`)(ctx, l); err != nil {
		return err
	}
	if err := sh(`systemctl stop nfs-server`)(ctx, l); err != nil {
		return err
	}
	err := l.deletePods(ctx, "nfs")
	_, claims := l.kube.Run(ctx, "", "delete", "pvc/nfs", "pv/vm-nfs", "-n", namespace, "--timeout=300s")
	return errors.Join(err, claims, sh(`! grep ' nfs4* ' /proc/1/mounts`)(ctx, l))
}
