# nomad job run deploy/nomad/glm-tts.nomad.hcl
# The node registers itself in Consul. The service below is Nomad's own (provider "nomad"), so that a deployment waits
# for /ready. The client's max_kill_timeout (30 s by default) must be at least kill_timeout.

variable "image" {
  type    = string
  default = "glm-tts:cuda"
}

variable "region" {
  type    = string
  default = "north"
}

job "glm-tts" {
  datacenters = ["*"]
  type        = "service"

  group "node" {
    count = 2

    # The host's network: clients and the agent reach the nodes at the host's address.
    network {
      mode = "host"
      port "http" {}
    }

    # A new node is ready before an old one starts to drain.
    update {
      max_parallel      = 1
      canary            = 1
      auto_promote      = true
      auto_revert       = true
      health_check      = "checks"
      min_healthy_time  = "15s"
      healthy_deadline  = "10m"
      progress_deadline = "20m"
    }

    restart {
      attempts = 3
      interval = "10m"
      delay    = "15s"
      mode     = "fail"
    }

    # Scales on the backlog, not on CPU. The target is an example: docs/operations.md, "How many nodes".
    scaling {
      enabled = true
      min     = 2
      max     = 10

      policy {
        cooldown            = "5m"
        evaluation_interval = "30s"

        check "backlog" {
          source = "prometheus"
          query  = "avg(glmtts_backlog_seconds{region=\"north\"})"

          strategy "target-value" {
            target = 20
          }
        }
      }
    }

    service {
      name     = "glm-tts-deployment"
      provider = "nomad"
      port     = "http"

      check {
        type     = "http"
        path     = "/ready"
        interval = "10s"
        timeout  = "5s"
      }
    }

    volume "checkpoints" {
      type      = "host"
      source    = "checkpoints"
      read_only = false
    }

    # The published checkpoint, 6 GB, once for a host: docs/official.md. The user 10001 must be able to write there.
    task "fetch" {
      driver = "docker"

      lifecycle {
        hook    = "prestart"
        sidecar = false
      }

      config {
        image      = var.image
        entrypoint = ["sh", "-c"]
        args       = ["test -e /checkpoints/glm-tts/SHA256SUMS || exec python -m scripts.fetch_checkpoint /checkpoints/glm-tts --campplus checkpoints/nano/frontend/campplus.pt"]
      }

      volume_mount {
        volume      = "checkpoints"
        destination = "/checkpoints"
        read_only   = false
      }

      resources {
        cpu    = 1000
        memory = 2048
      }
    }

    task "server" {
      driver = "docker"

      # SIGTERM starts the drain; killing a node before its end breaks streams.
      kill_signal  = "SIGTERM"
      kill_timeout = "120s"

      config {
        image        = var.image
        network_mode = "host"
      }

      env {
        GLMTTS_PORT       = "${NOMAD_PORT_http}"
        GLMTTS_ADVERTISE  = "${NOMAD_IP_http}"
        GLMTTS_NODE_NAME  = "${node.unique.name}"
        GLMTTS_CHECKPOINT = "/checkpoints/glm-tts"
        GLMTTS_REGION     = var.region
        CONSUL_HTTP_ADDR  = "127.0.0.1:8500"
      }

      volume_mount {
        volume      = "checkpoints"
        destination = "/checkpoints"
        read_only   = true
      }

      resources {
        cpu    = 2000
        memory = 16384

        device "nvidia/gpu" {
          count = 1
        }
      }
    }
  }
}
