// fanload: STOMP fan-out load generator, one thread, epoll.
// N subscribers on one topic, one publisher; frames are counted by their NUL byte, latency is sampled on ~50 subscribers
// from a nanosecond stamp in the body. Prints one JSON line.
//   -h HOST -p PORT -n SUBS -m MSGS -s BODY_BYTES   -w WINDOW messages in flight, or -r RATE messages/s
//   -d DEST -l LOGIN -k PASSCODE (publisher; -A: subscribers log in too)   -c HOST:PORT publish through another front-end
//   -u a subscription id of its own for each subscriber, instead of 0 for all
//   -T subscribers come over TLS, or -W PATH over a WebSocket; then -c says where to publish, over TCP
//   -P PID[,PID] server processes: CPU seconds and RSS   -i SECONDS hold the subscribers idle, print RSS and idle CPU
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include "carrier.h"

static uint64_t now(void){struct timespec t;clock_gettime(CLOCK_MONOTONIC,&t);return t.tv_sec*1000000000ull+t.tv_nsec;}
typedef struct{line_t line;uint64_t got;int sampled;char *buf;size_t len;} sub_t;
static char *host="127.0.0.1",*pubhost=NULL,*dest="/topic/bench",*login=NULL,*pass=NULL,*vhost="/",*wspath=NULL;
static int port=61613,pubport=0,n=100,m=1000,s=64,w=16,authsubs=0,idle=0,ver12=0,ownids=0,tls=0; static double rate=0;
static int pids[64],npids=0;
static int cmpu(const void*a,const void*b){uint64_t x=*(uint64_t*)a,y=*(uint64_t*)b;return x<y?-1:x>y;}
static double cpu_of(int pid,double*u,double*sy){char p[64],b[1024];snprintf(p,64,"/proc/%d/stat",pid);FILE*f=fopen(p,"r");if(!f)return 0;size_t k=fread(b,1,1023,f);b[k]=0;fclose(f);char*q=strrchr(b,')');unsigned long ut,st;sscanf(q+2,"%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",&ut,&st);double hz=sysconf(_SC_CLK_TCK);*u+=ut/hz;*sy+=st/hz;return 0;}
static void cpus(double*u,double*sy){*u=*sy=0;for(int i=0;i<npids;i++)cpu_of(pids[i],u,sy);}
static long rss(void){long t=0;for(int i=0;i<npids;i++){char p[64],l[256];snprintf(p,64,"/proc/%d/status",pids[i]);FILE*f=fopen(p,"r");if(!f)continue;long k;while(fgets(l,256,f))if(sscanf(l,"VmRSS: %ld",&k)==1)t+=k;fclose(f);}return t;}
static int dial(char*h,int pt,int idx){
  int fd=socket(AF_INET,SOCK_STREAM,0);if(fd<0){perror("socket");exit(2);}
  struct sockaddr_in l={0};l.sin_family=AF_INET;char src[32];snprintf(src,32,"127.0.%d.%d",1+idx/20000,1+(idx/10000)%2);
  if(idx>=0){inet_pton(AF_INET,src,&l.sin_addr);int one=1;setsockopt(fd,SOL_IP,IP_BIND_ADDRESS_NO_PORT,&one,sizeof one);bind(fd,(void*)&l,sizeof l);}
  struct sockaddr_in a={0};a.sin_family=AF_INET;a.sin_port=htons(pt);inet_pton(AF_INET,h,&a.sin_addr);
  if(connect(fd,(void*)&a,sizeof a)){perror("connect");exit(2);}int one=1;setsockopt(fd,IPPROTO_TCP,TCP_NODELAY,&one,sizeof one);return fd;}
static void await_frame(line_t*l,const char*want){char b[4096];size_t k=0;for(;;){ssize_t r=take(l,b+k,1);if(r<0&&errno==EAGAIN)continue;if(r<=0){fprintf(stderr,"closed waiting for %s: %.*s\n",want,(int)k,b);exit(2);}if(k==0&&(b[0]=='\n'||b[0]=='\r'))continue;if(b[k]==0){if(strncmp(b,want,strlen(want))){fprintf(stderr,"wanted %s got: %s\n",want,b);exit(2);}return;}if(k<4095)k++;}}
static void hello(line_t*l,int auth){char b[1024];int k;const char*v=ver12?"accept-version:1.2\nheart-beat:0,0\n":"accept-version:1.0,1.1,1.2\n";
  if(auth&&login)k=snprintf(b,1024,"CONNECT\n%shost:%s\nlogin:%s\npasscode:%s\n\n",v,vhost,login,pass);else k=snprintf(b,1024,"CONNECT\n%shost:%s\n\n",v,vhost);put(l,b,k+1);await_frame(l,"CONNECTED");}
int main(int c,char**v){int o;while((o=getopt(c,v,"h:p:n:m:s:w:r:d:l:k:c:P:Ai:V:2uTW:"))!=-1)switch(o){
  case'h':host=optarg;break;case'p':port=atoi(optarg);break;case'n':n=atoi(optarg);break;case'm':m=atoi(optarg);break;case's':s=atoi(optarg);break;case'w':w=atoi(optarg);break;case'r':rate=atof(optarg);break;case'd':dest=optarg;break;case'l':login=optarg;break;case'k':pass=optarg;break;case'A':authsubs=1;break;case'i':idle=atoi(optarg);break;case'V':vhost=optarg;break;case'2':ver12=1;break;case'u':ownids=1;break;case'T':tls=1;break;case'W':wspath=optarg;break;
  case'c':{char*q=strchr(optarg,':');*q=0;pubhost=optarg;pubport=atoi(q+1);}break;case'P':{char*t=strtok(optarg,",");while(t&&npids<64){pids[npids++]=atoi(t);t=strtok(NULL,",");}}break;}
  struct rlimit rl={1<<20,1<<20};setrlimit(RLIMIT_NOFILE,&rl);
  long rss0=rss();uint64_t t0=now();sub_t*S=calloc(n,sizeof*S);int ep=epoll_create1(0);
  for(int i=0;i<n;i++){line_t*l=&S[i].line;l->fd=dial(host,port,i);if(tls)encrypt(l);if(wspath)upgrade(l,host,wspath);hello(l,authsubs);char b[512];int k=snprintf(b,512,"SUBSCRIBE\nid:%d\ndestination:%s\nack:auto\nx-ebu-nofastreply:yes\nreceipt:r\n\n",ownids?i:0,dest);put(l,b,k+1);await_frame(l,"RECEIPT");fcntl(l->fd,F_SETFL,O_NONBLOCK);
    int step=n/50?n/50:1;S[i].sampled=(i%step)==0;if(S[i].sampled)S[i].buf=malloc(1<<20);struct epoll_event e={.events=EPOLLIN,.data.u32=i};epoll_ctl(ep,EPOLL_CTL_ADD,l->fd,&e);}
  double tc=(now()-t0)/1e9;
  if(idle){sleep(idle);double u0,s0,u1,s1;cpus(&u0,&s0);sleep(idle);cpus(&u1,&s1);printf("{\"subs\":%d,\"connect_s\":%.2f,\"connects_per_s\":%.0f,\"rss_kb_before\":%ld,\"rss_kb\":%ld,\"kb_per_conn\":%.2f,\"idle_cpu_pct\":%.2f}\n",n,tc,n/tc,rss0,rss(),(rss()-rss0)/(double)n,100*(u1+s1-u0-s0)/idle);return 0;}
  line_t pub={dial(pubhost?pubhost:host,pubhost?pubport:port,-1)};hello(&pub,1);usleep(300000);fcntl(pub.fd,F_SETFL,O_NONBLOCK);
  struct epoll_event e={.events=EPOLLIN,.data.u32=0xffffffff};epoll_ctl(ep,EPOLL_CTL_ADD,pub.fd,&e);
  char*body=malloc(s+64),*fr=malloc(s+1024);memset(body,'x',s);
  uint64_t*lat=malloc(sizeof(uint64_t)*(size_t)m*64);size_t nl=0;uint64_t total=0,want=(uint64_t)n*m;int sent=0;char*rb=malloc(1<<18);struct epoll_event ev[512];
  double u0,s0;cpus(&u0,&s0);uint64_t T0=now(),last=T0,lastprog=T0;uint64_t bytes=0;
  while(total<want){
    uint64_t t=now();
    for(;;){ if(sent>=m)break; if(rate>0){if((t-T0)/1e9*rate<sent)break;}else if((uint64_t)sent*n-total>(uint64_t)w*n)break;
      int k=snprintf(fr,1024,"SEND\ndestination:%s\ncontent-length:%d\n\n",dest,s);char st[32];int sl=snprintf(st,32,"~~%019llu~",(unsigned long long)now());memcpy(body,st,sl<s?sl:s);memcpy(fr+k,body,s);fr[k+s]=0;put(&pub,fr,k+s+1);sent++;}
    int r=epoll_wait(ep,ev,512,rate>0?0:50);
    for(int i=0;i<r;i++){uint32_t id=ev[i].data.u32;
      if(id==0xffffffff){ssize_t g=read(pub.fd,rb,4096);if(g<=0){fprintf(stderr,"publisher closed\n");exit(3);}if(memmem(rb,g,"ERROR",5)){fprintf(stderr,"publisher got: %.*s\n",(int)g,rb);exit(3);}continue;}
      sub_t*x=&S[id];ssize_t g=take(&x->line,rb,1<<18);if(g<=0){if(g<0&&errno==EAGAIN)continue;fprintf(stderr,"subscriber %u closed after %lu\n",id,x->got);exit(3);}
      bytes+=g;uint64_t cnt=0;char*q=rb,*end=rb+g;while((q=memchr(q,0,end-q))){cnt++;q++;}
      x->got+=cnt;total+=cnt;if(cnt){last=now();lastprog=last;}
      if(x->sampled){memcpy(x->buf+x->len,rb,g);x->len+=g;char*p=x->buf,*z=x->buf+x->len,*f;while((f=memchr(p,0,z-p))){char*at=memmem(p,f-p,"~~",2);if(at&&nl<(size_t)m*64)lat[nl++]=last-strtoull(at+2,NULL,10);p=f+1;}x->len=z-p;memmove(x->buf,p,x->len);}
    }
    if(now()-lastprog>20000000000ull){fprintf(stderr,"stalled: %lu of %lu\n",total,want);break;}
  }
  double el=(last-T0)/1e9,u1,s1;cpus(&u1,&s1);qsort(lat,nl,8,cmpu);
  uint64_t mn=~0ull,mx=0;for(int i=0;i<n;i++){if(S[i].got<mn)mn=S[i].got;if(S[i].got>mx)mx=S[i].got;}
  double du=u1-u0,ds=s1-s0;
  printf("{\"subs\":%d,\"msgs\":%d,\"body\":%d,\"deliveries\":%lu,\"lost\":%ld,\"seconds\":%.3f,\"deliveries_per_s\":%.0f,\"MB_per_s\":%.1f,\"lat_ms_p50\":%.3f,\"lat_ms_p99\":%.3f,\"lat_ms_max\":%.3f,\"server_user_s\":%.2f,\"server_sys_s\":%.2f,\"cpu_us_per_delivery\":%.3f,\"user_us_per_delivery\":%.3f,\"rss_kb\":%ld,\"connect_s\":%.2f}\n",n,m,s,total,(long)want-(long)total,el,total/el,bytes/el/1e6,nl?lat[nl/2]/1e6:0,nl?lat[(size_t)(nl*.99)]/1e6:0,nl?lat[nl-1]/1e6:0,du,ds,total?1e6*(du+ds)/total:0,total?1e6*du/total:0,rss(),tc);
  return total<want?4:0;}
