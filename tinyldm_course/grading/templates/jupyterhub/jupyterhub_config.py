"""JupyterHub for a class: a container for each student, with a share of the processors and of the memory."""

import os

c = get_config()  # noqa: F821 - JupyterHub defines it

c.JupyterHub.spawner_class = "dockerspawner.DockerSpawner"
c.DockerSpawner.image = "tinyldm-student"
c.DockerSpawner.remove = True
c.DockerSpawner.network_name = os.environ.get("DOCKER_NETWORK_NAME", "jupyterhub")
c.JupyterHub.hub_ip = "0.0.0.0"  # in the container's network only; publish no port but the proxy's
c.JupyterHub.hub_connect_ip = os.environ.get("HUB_NAME", "jupyterhub")

# What one student may use. A lesson needs one processor and 2 GB; 30 students on 16 cores share them fairly.
c.DockerSpawner.cpu_limit = 1.0
c.DockerSpawner.mem_limit = "3G"
c.DockerSpawner.extra_host_config = {"pids_limit": 256, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}

# A student's own work, kept when the container goes; nbgrader's exchange, which all students share.
c.DockerSpawner.notebook_dir = "/home/jovyan/work"
c.DockerSpawner.volumes = {
    "jupyterhub-user-{username}": "/home/jovyan/work",
    "nbgrader-exchange": "/srv/nbgrader/exchange",
}
# The weights are in the image, where students may only read them: see the Dockerfile.

# Idle servers give their memory back after an hour.
c.JupyterHub.load_roles = [
    {
        "name": "idle-culler",
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
        "services": ["idle-culler"],
    }
]
c.JupyterHub.services = [
    {"name": "idle-culler", "command": ["python3", "-m", "jupyterhub_idle_culler", "--timeout=3600"]}
]

# Who may log in: your school's own service. See "Authenticators" in JupyterHub's documentation.
c.JupyterHub.authenticator_class = os.environ["JUPYTERHUB_AUTHENTICATOR"]
c.Authenticator.allow_all = True  # whom that service lets in
c.Authenticator.admin_users = set(os.environ.get("JUPYTERHUB_TEACHERS", "").split())
