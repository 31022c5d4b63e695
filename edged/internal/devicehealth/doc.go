// Package devicehealth adds the health of their devices to the statuses of a pod's containers
// (KEP-4680): those of device plugins, and those of resource claims.
//
//	devicehealth.AddDevices(&status, uid, last, manager)
//	devicehealth.AddClaims(&status, pod, last, claims)
//
// What nobody knows at the moment, since a plugin or a driver has not come back yet, is as it was
// last reported. The functions keep nothing.
package devicehealth
